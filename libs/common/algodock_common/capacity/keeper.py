"""Keeps a process's shares: one round trip at a time to the store settles all that changed meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

import structlog

from algodock_common.capacity.share import Share
from algodock_common.capacity.slots import Ask, SlotsAway
from algodock_common.identifiers import uuid7

if TYPE_CHECKING:
    from algodock_common.capacity.slots import SlotStore

__all__ = ["Capacity"]

log = structlog.get_logger()

_WANT_EVERY_S: Final = 0.5
_UNUSED_S: Final = 0.1
_STOP_S: Final = 3.0


class Capacity:
    """The shares of one process, by service; services without a limit never reach the store.

    The holder's name is new with each process: what a killed one held is free when its lease has run out,
    because its calls may go on at the instances for a while.
    """

    def __init__(self, store: SlotStore, *, process: str, lease_s: float = 6.0) -> None:
        """``process`` begins the holder's name; nothing is asked before ``start``."""
        self._store = store
        self._holder = f"{process}-{uuid7().hex[-12:]}"
        self._lease_s = lease_s
        self._shares: dict[str, Share] = {}
        self._asked: dict[Share, None] = {}
        self._live: set[Share] = set()
        self._rounds: list[asyncio.Future[None]] = []
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._away = False
        self._stopped = False
        self._swept_at = 0.0

    @property
    def away(self) -> bool:
        """Say whether the store did not answer last time."""
        return self._away

    def now(self) -> float:
        """Return the monotonic time."""
        return time.monotonic()

    def share(self, name: str) -> Share:
        """Return the share of a service."""
        share = self._shares.get(name)
        if share is None:
            share = self._shares[name] = Share(name, self)
        return share

    def ask(self, share: Share) -> None:
        """Settle the share soon; returns at once."""
        self._asked[share] = None
        self._wanted.set()

    def told(self, name: bytes) -> None:
        """Hear (a signal) that somebody waits for slots of a service, or that some became free."""
        share = self._shares.get(name.decode())
        if share is None:
            return
        if share.held > share.in_use:
            share.crowded = True
            self.ask(share)
        elif share.told is not None:
            share.told()
        elif share.wanted:
            self.ask(share)

    async def take(self, name: str, limit: int, count: int) -> int:
        """Take up to ``count`` slots; those not free now are waited for in the store until it is asked again.

        Each is given back with the share's ``leave``. Without the store: 0, or what the last share has left.
        """
        share = self.share(name)
        got = _enter(share, limit, count)
        if got < count:
            share.want(count - got, limit)
            if not self._away:  # else the next look asks again, and other services do not wait for this one
                await self._round()
                got += _enter(share, limit, count - got)
            share.wanted = 0
        return got

    def give_up(self, name: str) -> None:
        """Wait no longer for slots of a service."""
        share = self._shares.get(name)
        if share is not None and share.unmet:
            self.ask(share)

    async def start(self) -> None:
        """Begin to settle; returns at once, however the store is."""
        self._task = asyncio.create_task(self._run(), name="capacity")

    async def stop(self) -> None:
        """Give back everything, if the store takes it at once."""
        self._stopped = True  # a client library may swallow a cancellation; this it cannot
        self._wanted.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=_STOP_S)
        held = [Ask(one.name, one.limit or 1, 0, 0) for one in self._live]
        if held:
            with contextlib.suppress(SlotsAway):  # the leases run out
                await self._store.settle(self._holder, held, lease_s=self._lease_s)
        self._end_rounds()
        await self._store.close()

    async def _round(self) -> None:
        """Wait until what is asked for now was settled, or could not be."""
        round_ = asyncio.get_running_loop().create_future()
        self._rounds.append(round_)
        await round_

    def _end_rounds(self) -> None:
        rounds, self._rounds = self._rounds, []
        _wake(rounds)

    async def _run(self) -> None:
        await self._try(())  # the store begins to count, where nobody did
        while not self._stopped:
            self._sweep()
            if not self._asked:
                await self._wait()
                continue
            asked, self._asked = tuple(self._asked), {}
            rounds, self._rounds = self._rounds, []
            self._wanted.clear()
            try:
                await self._try(asked)
            finally:
                _wake(rounds)
            if self._away:
                await asyncio.sleep(_WANT_EVERY_S)

    async def _try(self, asked: tuple[Share, ...]) -> None:
        """Settle shares; while the store is away they stay asked for, and everybody is told."""
        try:
            await self._settle(asked)
        except SlotsAway as error:
            if not self._away:
                log.warning("slots_unknown", error=error.detail)
            self._away = True
            self._asked = dict.fromkeys(asked) | self._asked
            for share in self._shares.values():
                if share.moved is not None:
                    share.moved()

    async def _settle(self, shares: tuple[Share, ...]) -> None:
        asks = [share.to_ask() for share in shares]
        asked_at = time.monotonic()
        answers = await self._store.settle(self._holder, asks, lease_s=self._lease_s)
        if self._away:
            log.info("slots_known_again")
        self._away = False
        for share, granted in zip(shares, answers, strict=True):
            share.settled(granted, asked_at, self._lease_s)
            if share.held or share.unmet or share.wanted:
                self._live.add(share)
            else:
                self._live.discard(share)
            if share.strict and share.held > share.in_use:  # granted, and whoever waited may have left
                asyncio.get_running_loop().call_later(_UNUSED_S, self._give_back_unused, share)

    def _give_back_unused(self, share: Share) -> None:
        if share.strict and share.held > share.in_use and share not in self._asked:
            self.ask(share)

    def _sweep(self) -> None:
        """Renew what is held and what is waited for."""
        now = time.monotonic()
        if now - self._swept_at < _WANT_EVERY_S / 2:
            return
        self._swept_at = now
        for share in self._live:
            if now - share.settled_at >= (_WANT_EVERY_S if share.wanted else self._lease_s / 3):
                self._asked[share] = None

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WANT_EVERY_S if self._live else None):
                await self._wanted.wait()
        self._wanted.clear()


def _enter(share: Share, limit: int, count: int) -> int:
    got = 0
    while got < count and share.enter(limit):
        got += 1
    return got


def _wake(rounds: list[asyncio.Future[None]]) -> None:
    for one in rounds:
        if not one.done():
            one.set_result(None)
