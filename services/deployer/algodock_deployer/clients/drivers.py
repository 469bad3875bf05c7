"""The drivers together: each program with the one that its service's deployment mode names."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from algodock_deployer.clients.processes import DriverUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from algodock_deployer.clients.processes import ProcessDriver, Seen
    from algodock_deployer.domain.modes import Modes
    from algodock_deployer.domain.programs import ProgramSpec

__all__ = ["ChosenDrivers", "Survey"]

Answer = TypeVar("Answer")


class Survey:
    """One look at what runs, as far as its drivers can be asked.

    ``seen`` is what they have, ``away`` why one of them could not be asked; None when all could.
    """

    def __init__(self, processes: ProcessDriver) -> None:
        """Nobody is asked yet."""
        self._asked = list(processes.used.values()) if isinstance(processes, ChosenDrivers) else [processes]
        self._unheard: list[ProcessDriver] = []
        self.seen: dict[str, Seen] = {}
        self.away: DriverUnavailable | None = None

    async def ensure(self) -> bool:
        """See to it that every driver works, and return whether one was started; who does not is not asked any more."""
        return any(await self._each(lambda driver: driver.ensure()))

    async def look(self) -> None:
        """Look at what each driver has."""
        for found in await self._each(lambda driver: driver.look_all()):
            self.seen.update(found)

    def tells_of(self, program: str) -> bool:
        """Return whether the program was seen, or is nowhere; False where whoever may have it is away."""
        return program in self.seen or not any(one.may_have(program) for one in self._unheard)

    async def _each(self, ask: Callable[[ProcessDriver], Awaitable[Answer]]) -> list[Answer]:
        asked, self._asked = self._asked, []
        heard: list[Answer] = []
        for driver, answer in zip(asked, await asyncio.gather(*map(ask, asked), return_exceptions=True), strict=True):
            if isinstance(answer, DriverUnavailable):
                self._unheard.append(driver)
                self.away = self.away or answer
            elif isinstance(answer, BaseException):
                raise answer
            else:
                self._asked.append(driver)
                heard.append(answer)
        return heard


class ChosenDrivers:
    """``ProcessDriver`` over several: new programs go where ``modes`` says, old ones are found where they are.

    A driver that nothing names and that has no programs left is not touched: it need not be there. About a program
    only those are asked that may have it, so that one that is away holds up nobody else's.
    """

    def __init__(self, drivers: Mapping[str, ProcessDriver], modes: Modes) -> None:
        """``drivers`` has one for every mode."""
        self._drivers = dict(drivers)
        self._modes = modes

    @property
    def holds(self) -> bool:
        """Return whether any of them has programs."""
        return any(driver.holds for driver in self._drivers.values())

    @property
    def used(self) -> Mapping[str, ProcessDriver]:
        """Return the drivers that something names, or that have programs."""
        return {mode: one for mode, one in self._drivers.items() if mode in self._modes.used or one.holds}

    def may_have(self, program: str) -> bool:
        """Return whether one of them may have the program."""
        return bool(self._having(program))

    async def ensure(self) -> bool:
        """See to it that every driver in use works; those that do, do so although another does not."""
        found = Survey(self)
        started = await found.ensure()
        if found.away is not None:
            raise found.away
        return started

    async def start(self, spec: ProgramSpec) -> None:
        """Start the program with its mode's driver."""
        mode = spec.mode or self._modes.default
        if mode not in self._drivers:
            raise DriverUnavailable(f"there is no driver for deployment.mode {mode}")
        await self._drivers[mode].start(spec)

    async def look(self, program: str) -> Seen | None:
        """Return how the program stands, whoever runs it."""
        for one in self._having(program):
            seen = await one.look(program)
            if seen is not None:
                return seen
        return None

    async def look_all(self) -> Mapping[str, Seen]:
        """Return the programs of all."""
        found: dict[str, Seen] = {}
        for one in self.used.values():
            found.update(await one.look_all())
        return found

    async def pause(self, program: str) -> None:
        """Pause the program, whoever runs it."""
        for one in self._having(program):
            await one.pause(program)

    async def resume(self, program: str) -> None:
        """Start a paused program again, whoever runs it."""
        for one in self._having(program):
            await one.resume(program)

    async def stop(self, program: str) -> None:
        """End the program, whoever runs it."""
        for one in self._having(program):
            await one.stop(program)

    async def close(self) -> None:
        """Let go of all programs, which go on."""
        for one in self._drivers.values():
            await one.close()

    def _having(self, program: str) -> list[ProcessDriver]:
        return [one for one in self.used.values() if one.may_have(program)]
