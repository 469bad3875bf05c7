"""Dead letters: shown to their owners, and replayed: a task as a rerun of itself, a message on its topic."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Protocol

from pydantic import ValidationError

from algodock_common.events import Event, TaskRequested
from algodock_runner.domain.dead_letters import Replayed
from algodock_runner.domain.errors import DeadLetterNotReplayable, UnknownDeadLetter
from algodock_runner.repository import dead_letters

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from algodock_common.database import Database
    from algodock_runner.domain.dead_letters import DeadLetterDetail, DeadLetterFilter, DeadLetterSummary
    from algodock_runner.domain.tasks import TaskView
    from algodock_runner.handlers.submit import Submission
    from algodock_runner.repository.dead_letters import Letter

__all__ = ["DeadLetters", "Reruns", "Topics"]


class Topics(Protocol):
    """The bus, as far as a message is put back by it."""

    async def put_back(self, topic: str, value: bytes, *, key: str | None, headers: Mapping[str, bytes]) -> None:
        """Publish a message as it was.

        Raises:
            Unavailable: the broker did not confirm it.
            ValueError: there is no such topic.
        """
        ...


class Reruns(Protocol):
    """What runs a task again."""

    async def again(self, task_id: UUID, *, owner: str, idempotency_key: str) -> TaskView:
        """Return the new task, which is ``task_id`` once more; with the same key it is the same one."""
        ...


class DeadLetters:
    """Where dead letters are looked at; ``owner`` None sees everybody's, and the platform's messages."""

    def __init__(self, db: Database, reruns: Reruns, submission: Submission, topics: Topics) -> None:
        """Keep what it works with."""
        self._db = db
        self._reruns = reruns
        self._submission = submission
        self._topics = topics

    async def page(self, wanted: DeadLetterFilter) -> list[DeadLetterSummary]:
        """Return a page of dead letters, newest first."""
        async with self._db.read() as session:
            return await dead_letters.listed(session, wanted)

    async def get(self, letter_id: UUID, *, owner: str | None) -> DeadLetterDetail:
        """Return one dead letter.

        Raises:
            UnknownDeadLetter: there is none that ``owner`` may see.
        """
        async with self._db.read() as session:
            found = await dead_letters.find(session, letter_id, owner=owner)
        if found is None:
            raise _unknown(letter_id)
        return found

    async def replay(self, letter_id: UUID, *, owner: str | None, caller: str) -> Replayed:
        """Do again what failed, once: asking again tells what the first replay became.

        A task runs again as its owner's. A request for a task is submitted in the name of ``caller``
        (an API key's id), because its own key is not kept. Every other message goes to its topic again
        as it was; its consumers drop what is older than what they have applied.

        Raises:
            UnknownDeadLetter: there is none that ``owner`` may see.
            DeadLetterNotReplayable: the message asks for no task, was too large to be kept, or its topic is gone.
            AlgoDockError: the submission was refused again, or the broker is away.
        """
        async with self._db.read() as session:
            letter = await dead_letters.letter(session, letter_id, owner=owner)
        if letter is None:
            raise _unknown(letter_id)
        if letter.replayed_at is not None:
            return _replayed(letter, letter.replayed_at, letter.replayed_as)
        task_id = await self._replay(letter, caller)
        async with self._db.transaction() as tx:
            at = await dead_letters.replayed(tx, letter.id, task_id=task_id)
        return _replayed(letter, at, task_id)

    async def _replay(self, letter: Letter, caller: str) -> UUID | None:
        key = f"dead-letter:{letter.id}"
        if letter.task_id is not None:
            view = await self._reruns.again(letter.task_id, owner=letter.owner or caller, idempotency_key=key)
            return view.id
        if letter.cut:
            msg = "The message was too large to be kept whole; have its sender send it again."
            raise DeadLetterNotReplayable(msg)
        if letter.topic == TaskRequested.topic:
            return await self._submit(letter, caller, key)
        headers = {name: base64.b64decode(content) for name, content in (letter.headers or {}).items()}
        try:
            await self._topics.put_back(
                letter.topic or "", letter.value or b"", key=letter.message_key, headers=headers
            )
        except ValueError as error:
            raise DeadLetterNotReplayable(f"The message cannot be put back: {error}") from error
        return None

    async def _submit(self, letter: Letter, caller: str, key: str) -> UUID:
        try:
            event = Event[TaskRequested].model_validate_json(letter.value or b"")
        except ValidationError as error:
            msg = "The message asks for no task, and would be refused again; submit what was meant instead."
            raise DeadLetterNotReplayable(msg) from error
        made = await self._submission.submit(event.data, owner=caller, default_key=key)
        return made.view.id


def _replayed(letter: Letter, at: object, task_id: UUID | None) -> Replayed:
    topic = None if task_id is not None else letter.topic
    return Replayed.model_validate({"id": letter.id, "replayed_at": at, "task_id": task_id, "topic": topic})


def _unknown(letter_id: UUID) -> UnknownDeadLetter:
    return UnknownDeadLetter(f"There is no dead letter {letter_id}.")
