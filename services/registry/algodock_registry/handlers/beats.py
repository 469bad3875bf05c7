"""Heartbeats: taken at once, written together.

A beat costs a MAC and a place in a dictionary; the rows are written in one statement for all beats
of a moment. A registry that dies forgets that moment, and the next beat comes by itself.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

import structlog

from algodock_registry.domain import WrongInstanceToken, after_life_sign
from algodock_registry.handlers.routing import change_routing
from algodock_registry.repository import Beat, Instances

if TYPE_CHECKING:
    from uuid import UUID

    from algodock_registry.handlers.context import Context

__all__ = ["BeatBook"]

GATHER_S = 0.25
RETRY_S = 1.0
_REMEMBERED_GONE = 4096
log = structlog.get_logger()


class BeatBook:
    """The beats that are not written yet, and who was found gone."""

    def __init__(self, context: Context) -> None:
        """Begin with none."""
        self._context = context
        self._unwritten: dict[UUID, Beat] = {}
        self._gone: OrderedDict[UUID, None] = OrderedDict()
        self._came = asyncio.Event()

    def note(self, token: str, status: str, metrics: dict[str, float]) -> None:
        """Take a beat.

        Raises:
            WrongInstanceToken: the token is no instance's, or its instance is gone.
        """
        instance_id = self._context.tokens.instance_of(token)
        if instance_id in self._gone:
            msg = "this instance is gone"
            raise WrongInstanceToken(msg)
        self._unwritten[instance_id] = Beat(instance_id, status, metrics)
        self._came.set()

    async def run(self) -> None:
        """Write beats for ever: the first one waits a moment for others."""
        while True:
            await self._came.wait()
            await asyncio.sleep(GATHER_S)
            try:
                await self.write()
            except Exception as error:  # noqa: BLE001  # the beats are kept; whatever the database has, it passes
                log.warning("beats.not_written", beats=len(self._unwritten), error=repr(error))
                await asyncio.sleep(RETRY_S)

    async def write(self) -> None:
        """Write what came; the silent among them are ready again."""
        self._came.clear()
        beats, self._unwritten = self._unwritten, {}
        if not beats:
            return
        try:
            states = await self._write(beats)
        except BaseException:
            self._unwritten = beats | self._unwritten
            self._came.set()
            raise
        for instance_id in beats.keys() - states.keys():
            self._gone[instance_id] = None
            if len(self._gone) > _REMEMBERED_GONE:
                self._gone.popitem(last=False)

    async def _write(self, beats: dict[UUID, Beat]) -> dict[UUID, object]:
        context = self._context
        async with context.database.transaction() as tx:
            instances = Instances(tx.session)
            # A beat is missed when half an interval more than one has passed without it.
            states = await instances.note_beats(list(beats.values()), look_in=context.interval * 1.5)
            silent = [one for one, state in states.items() if after_life_sign(state) != state]
            if silent:
                found = await instances.lock(silent)
                moves = [(one, after_life_sign(one.state)) for one in found.values()]
                await change_routing(tx, moves, look_in=context.interval * 1.5)
        return dict(states)
