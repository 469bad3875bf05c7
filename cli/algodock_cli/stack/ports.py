"""Ports on the loopback address, leased so that two checkouts of one person run side by side.

Each data folder has a block of a thousand ports, noted in one locked file per person: the platform's
own ports are the first hundred of it, the algorithms' the rest (8100–8999, 9100–9999, …).
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from algodock_cli.stack.errors import NoFreePort
from algodock_cli.stack.programs import write_private

__all__ = ["PortBlock", "is_free", "lease_block", "leases_file", "pick_ports", "release_block", "temporary_port"]

_FIRST_BLOCK = 8000
_BLOCK = 1000
_PLATFORM_PORTS = 100
_BLOCKS = 24  # up to 31999: above lie the ports that the kernel gives to outgoing connections
_TEMPORARY = range(32000, 32768)


@dataclass(frozen=True)
class PortBlock:
    """The thousand ports of one data folder."""

    first: int

    @property
    def platform(self) -> range:
        """Ports of the servers and services."""
        return range(self.first, self.first + _PLATFORM_PORTS)

    @property
    def algorithms(self) -> str:
        """``PORT_RANGE``: the algorithms' ports, both ends included."""
        return f"{self.first + _PLATFORM_PORTS}-{self.first + _BLOCK - 1}"


def is_free(port: int) -> bool:
    """Say whether nobody listens on the loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def temporary_port(taken: set[int]) -> int:
    """Return a free port for a server that lives as long as a test, and add it to ``taken``.

    It is one that the kernel gives to no outgoing connection, so the server can be restarted on it. No other process
    of this person is given it while this one lives: between two starts, and before the first, nobody listens there.

    Raises:
        NoFreePort: all are taken.
    """
    locks = _temporary_locks(leases_file().with_name("temporary-ports.lock"))
    for port in random.sample(_TEMPORARY, len(_TEMPORARY)):
        if port not in taken and _locked(locks, port) and is_free(port):
            taken.add(port)
            return port
    raise NoFreePort(f"every port of {_TEMPORARY.start}-{_TEMPORARY.stop - 1} is taken")


@cache
def _temporary_locks(path: Path) -> int:
    """Open the file whose bytes stand for ports; it stays open, since who closes it lets go of all."""
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _locked(locks: int, port: int) -> bool:
    """Lock the port's byte for the life of this process, where no other one has; fcntl(2), record locks."""
    try:
        fcntl.lockf(locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def pick_ports(preferred: Mapping[str, int], allowed: range) -> dict[str, int]:
    """Return a port for each name: the preferred one if it is free, else another of the range.

    Raises:
        NoFreePort: the range is full.
    """
    chosen: dict[str, int] = {}
    spare = (port for port in allowed if port not in preferred.values() and is_free(port))
    for name, port in preferred.items():
        found = port if is_free(port) else next(spare, None)
        if found is None:
            raise NoFreePort(f"no port of {allowed.start}-{allowed.stop - 1} is free for {name}")
        chosen[name] = found
    return chosen


def leases_file() -> Path:
    """Return the file in which this person's data folders note their blocks."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "algodock"
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:  # no home that can be written, as in some containers
        state = Path(tempfile.gettempdir()) / f"algodock-{os.getuid()}"
        state.mkdir(exist_ok=True, mode=0o700)
    return state / "port-blocks.json"


def lease_block(data_folder: Path) -> PortBlock:
    """Return the data folder's block, leasing the first one that no living data folder has.

    Raises:
        NoFreePort: every block belongs to a data folder that still exists.
    """
    with _leases() as leases:
        key = str(data_folder.resolve())
        for known in [folder for folder in leases if folder != key and not Path(folder).is_dir()]:
            del leases[known]
        if key not in leases:
            free = (first for first in _all_blocks() if first not in leases.values())
            first = next(free, None)
            if first is None:
                raise NoFreePort(f"all {_BLOCKS} port blocks are leased; `algodock reset` in a folder frees its own")
            leases[key] = first
        return PortBlock(leases[key])


def release_block(data_folder: Path) -> None:
    """Give the data folder's block back."""
    with _leases() as leases:
        leases.pop(str(data_folder.resolve()), None)


def _all_blocks() -> range:
    return range(_FIRST_BLOCK, _FIRST_BLOCK + _BLOCKS * _BLOCK, _BLOCK)


@contextmanager
def _leases() -> Iterator[dict[str, int]]:
    path = leases_file()
    with path.with_suffix(".lock").open("a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        leases: dict[str, int] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        before = dict(leases)
        yield leases
        if leases != before:
            write_private(path, json.dumps(leases, indent=1))
