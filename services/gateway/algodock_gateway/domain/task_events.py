"""A task's events as its watchers get them: server-sent events whose ids say exactly where to resume."""

from __future__ import annotations

import json
import re
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from algodock_common.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["BEGINNING", "HEARTBEAT", "RETRY", "Cursor", "Spoken", "Step", "event", "merged"]

BEGINNING: Final = "0-0"
HEARTBEAT: Final = b": \n\n"
RETRY: Final = b"retry: 1000\n\n"
_ID: Final = re.compile(r"(-1|[0-9]{1,9})/([0-9]{1,20}-[0-9]{1,20})(/done)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cursor:
    """What a watcher has had: the number of the last step, the id of the last entry, and whether that was all."""

    index: int = -1
    entry: str = BEGINNING
    done: bool = False

    @classmethod
    def parse(cls, text: str | None) -> Cursor:
        """Read a ``Last-Event-ID``; none is the beginning.

        Raises:
            BadRequest: it is none of ours.
        """
        if not text:
            return cls()
        found = _ID.fullmatch(text)
        if found is None:
            msg = "Last-Event-ID is none that this stream has sent; leave it out to begin anew."
            raise BadRequest(msg)
        return cls(int(found[1]), found[2], found[3] is not None)

    def __str__(self) -> str:
        """Return the event id."""
        return f"{self.index}/{self.entry}" + ("/done" if self.done else "")


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the task's state, as the runner's timeline has it."""

    index: int
    attempt: int
    data: dict[str, Any]

    @classmethod
    def of(cls, transition: dict[str, Any]) -> Step:
        """Read one transition."""
        return cls(int(transition["index"]), int(transition["attempt"]), transition)


@dataclass(frozen=True, slots=True)
class Spoken:
    """Something that the algorithm said in an attempt; ``data`` is JSON on one line."""

    id: str
    kind: str
    attempt: int
    data: str


def merged(cursor: Cursor, steps: Sequence[Step], spoken: Sequence[Spoken]) -> Iterator[tuple[Cursor, bytes]]:
    """Yield events in the order in which they happened, each with the cursor behind it.

    What an attempt says comes behind the step with which it began (number 2n) and before the one
    that ended it; so steps that come after what was said last are left for a call with nothing said.
    Entries keep their own order, and a cursor never goes back.
    """
    waiting = deque(step for step in steps if step.index > cursor.index)
    for one in spoken:
        while waiting and waiting[0].index <= 2 * one.attempt:
            cursor = replace(cursor, index=waiting[0].index)
            yield cursor, event(cursor, "state", waiting.popleft().data)
        cursor = replace(cursor, entry=one.id)
        yield cursor, event(cursor, one.kind, one.data)
    if not spoken:
        for step in waiting:
            cursor = replace(cursor, index=step.index)
            yield cursor, event(cursor, "state", step.data)


def event(cursor: Cursor, name: str, data: dict[str, Any] | str) -> bytes:
    """Return one server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    return f"id: {cursor}\nevent: {name}\ndata: {text}\n\n".encode()
