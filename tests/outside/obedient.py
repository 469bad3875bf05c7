"""An algorithm that does what its input says, good or bad; as a program, it shares no interpreter with who measures."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

__all__ = ["obey", "own_process"]

ROOT = Path(__file__).resolve().parents[2]


async def obey(asked: dict[str, Any], mark: str = "") -> web.Response:
    """Answer an input: ``sleep_s``, then ``text`` (no JSON), or ``bytes`` of filling with a ``status``."""
    await asyncio.sleep(asked.get("sleep_s", 0))
    if "text" in asked:
        return web.Response(text=asked["text"], content_type="application/json")
    answer = {"n": asked["n"], "mark": mark, "filling": "x" * asked.get("bytes", 0)}
    return web.json_response(answer, status=asked.get("status", 200))


@contextmanager
def own_process() -> Iterator[str]:
    """Serve it from a process of its own until the block ends; return its address."""
    with subprocess.Popen(
        [sys.executable, "-m", __name__],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # as an instance has one: the kernel may share cores among sessions
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        url = program.stdout.readline().strip()
        assert url, "it ended before it served"
        yield url
        program.stdin.close()  # it ends with who started it, however that ends


async def _health(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def _predict(request: web.Request) -> web.Response:
    return await obey(await request.json())


async def _serve() -> None:
    app = web.Application(client_max_size=64 * 2**20)
    app.add_routes([web.get("/health", _health), web.post("/predict", _predict)])
    runner = web.AppRunner(app, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    sys.stdout.write(f"http://{host}:{port}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_serve())
