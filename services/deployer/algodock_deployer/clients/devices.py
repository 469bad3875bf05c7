"""The machine's GPUs, as ``nvidia-smi`` lists them."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Protocol

from algodock_deployer.clients.short_runs import run_briefly
from algodock_deployer.domain.devices import Device
from algodock_deployer.domain.errors import NoDevice
from algodock_deployer.domain.programs import PATH

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Devices", "NvidiaSmi"]

TIMEOUT_S = 30.0
QUERY = ("--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits")


class Devices(Protocol):
    """Knows which GPUs there are."""

    async def inventory(self) -> Sequence[Device]:
        """Return the GPUs of this machine, by index.

        Raises:
            NoDevice: there should be some, and they cannot be listed; its detail says why.
        """
        ...


class NvidiaSmi:
    """``Devices`` by ``nvidia-smi``; without one there are none. It is asked each time: a driver may have lost one."""

    def __init__(self, path: str | None) -> None:
        """``path`` is the tool's; nothing is run."""
        self._path = path

    async def inventory(self) -> Sequence[Device]:
        """Return what the tool lists."""
        if not self._path:
            return []
        try:
            code, said = await run_briefly(
                (self._path, *QUERY), environment={"PATH": PATH, "LANG": "C"}, timeout_s=TIMEOUT_S
            )
        except TimeoutError as error:
            raise NoDevice(f"GPUs cannot be listed: {self._path} did not end within {TIMEOUT_S:.0f} s") from error
        except OSError as error:
            raise NoDevice(f"GPUs cannot be listed: {self._path}: {error.strerror}") from error
        if code != 0:
            last = said.strip().splitlines()[-1:] or ["nothing"]
            raise NoDevice(f"GPUs cannot be listed: {self._path} ended with {code} and said: {last[0][:200]}")
        return _read(said)


def _read(text: str) -> Sequence[Device]:
    found = []
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        if len(row) < 2 or not row[0].strip().isdigit():  # noqa: PLR2004  # index and uuid
            continue  # a warning among the rows
        index, uuid, *more = (cell.strip() for cell in row)
        memory = more[1] if len(more) > 1 else ""
        found.append(Device(int(index), uuid, more[0] if more else "", int(memory) if memory.isdigit() else 0))
    return sorted(found, key=lambda one: one.index)
