"""``python -m algodock_sdk [ai_algorithm.py]``: serve it on ``$HOST:$PORT`` (default 127.0.0.1:8000)."""

from __future__ import annotations

import argparse
import json
import logging
import logging.handlers
import os
import sys
import traceback
from pathlib import Path

__all__ = ["main"]

_GRACE_S = 8  # calls in flight may end; whoever stops us kills after 10


def main(argv: list[str] | None = None) -> int:
    """Serve until stopped; return 1 when the file cannot be served, with the reason as the last line on stderr."""
    arguments = _arguments(argv)
    _set_up_logging()
    from algodock_sdk.algorithm import AlgorithmError, load_algorithm

    try:
        algorithm = load_algorithm(Path(arguments.file))
    except AlgorithmError as error:
        print(f"AlgorithmError: {error}", file=sys.stderr)
        return 1
    except Exception as error:  # noqa: BLE001  (the author's code; the reason is the last line, for whoever reads the log)
        traceback.print_exc()
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    if arguments.check:
        signature = algorithm.signature
        print(json.dumps({"input": signature.input_schema(), "output": signature.output_schema()}, ensure_ascii=False))
        return 0

    import uvicorn

    from algodock_sdk.heartbeat import Heartbeat, Load
    from algodock_sdk.server import create_app

    load = Load()
    config = uvicorn.Config(
        create_app(algorithm, Heartbeat.from_environment(load), load),
        host=arguments.host,
        port=arguments.port,
        log_config=None,
        access_log=False,
        lifespan="on",
        ws="none",
        timeout_graceful_shutdown=_GRACE_S,
        timeout_keep_alive=75,  # longer than a proxy keeps its idle connections, so that it closes them, not we
    )
    server = uvicorn.Server(config)
    server.run()
    return 0 if server.started else 1


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m algodock_sdk", description="Serve a predict function over HTTP.")
    parser.add_argument("file", nargs="?", default="ai_algorithm.py", help="default: ai_algorithm.py")
    parser.add_argument("--host", default=os.environ.get("HOST") or "127.0.0.1", help="default: $HOST, or 127.0.0.1")
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT") or 8000), help="default: $PORT, or 8000")
    parser.add_argument("--check", action="store_true", help="load it, print its schemas as JSON and exit")
    return parser.parse_args(argv)


def _set_up_logging() -> None:
    """Log to stderr from INFO, and where ``ALGODOCK_DEBUG_LOG`` names a file, everything to that (10 MB, 5 backups)."""
    line = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    stderr = logging.StreamHandler()
    stderr.setLevel(logging.INFO)
    stderr.setFormatter(line)
    root.addHandler(stderr)
    debug_log = os.environ.get("ALGODOCK_DEBUG_LOG")
    if debug_log:
        file = logging.handlers.RotatingFileHandler(debug_log, maxBytes=10 * 2**20, backupCount=5, encoding="utf-8")
        file.setFormatter(line)
        root.addHandler(file)
        root.setLevel(logging.DEBUG)


if __name__ == "__main__":
    sys.exit(main())
