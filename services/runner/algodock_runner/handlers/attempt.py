"""One attempt: choose an instance, call it, store the answer, say what follows.

A small result is committed with the task's end and its object written behind, as soon as the backlog has
room; a large one is in the object store before the task says "succeeded": nobody is pointed to what
cannot be read.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from algodock_common.errors import AlgoDockError
from algodock_common.observability import current_traceparent
from algodock_common.storage import ObjectStoreUnavailable
from algodock_runner.clients.answers import AttemptFailed
from algodock_runner.clients.instances import Call, CallFailed
from algodock_runner.domain.retry import Again, Failure, Kind, after_failure, backoff_s, replaced, task_error
from algodock_runner.domain.tasks import StoredResult, breaks_its_word, is_small_json, result_key
from algodock_runner.handlers.choosing import choose
from algodock_runner.repository.fence import End, GiveBack, Served

if TYPE_CHECKING:
    from algodock_common.routing import Instance, RoutingTable
    from algodock_runner.clients.answers import Answer
    from algodock_runner.clients.instances import Instances
    from algodock_runner.clients.results import Results
    from algodock_runner.domain.tasks import Claim
    from algodock_runner.handlers.behind import Behind
    from algodock_runner.handlers.inputs import Inputs
    from algodock_runner.handlers.progress import Progress
    from algodock_runner.settings import TaskSettings

__all__ = ["Attempt", "Outcome", "Tools"]

log = structlog.get_logger()

Outcome = End | GiveBack

TRIES_WHEN_REFUSED = 3


@dataclass(frozen=True, slots=True)
class Tools:
    """What every attempt of a worker works with."""

    table: RoutingTable
    instances: Instances
    results: Results
    behind: Behind
    inputs: Inputs
    limits: TaskSettings
    progress: Progress | None = None


class Attempt:
    """One claimed task on its way; ``instance`` is the one that has it now."""

    def __init__(self, claim: Claim, tools: Tools) -> None:
        """Begin the attempt's clock."""
        self.claim = claim
        self.instance: Instance | None = None
        self._tools = tools
        self._deadline = None if claim.deadline_in_s is None else time.monotonic() + claim.deadline_in_s

    async def run(self) -> Outcome:
        """Run it to what follows; cancelling closes the call."""
        claim = self.claim
        tried: list[Instance] = []
        while True:
            answer: Answer | None = None
            try:
                self.instance = instance = choose(self._tools.table, claim, tried)
                try:
                    answer = await self._call(instance)
                finally:
                    self._tools.table.release(instance)
                return self._succeeded(await self._store(_checked(answer)))
            except CallFailed as failed:
                if not failed.sent:  # another instance may well be there
                    instance.suspect()
                    tried.append(instance)
                    if len(tried) < TRIES_WHEN_REFUSED:
                        continue
                return self._after(replaced(failed.failure) if instance.draining else failed.failure)
            except AttemptFailed as failed:
                return self._after(failed.failure)
            except _PastDeadline:
                error = task_error("Expired", "its deadline passed while it ran")
                return End(claim.id, claim.attempt, "expired", error=error, served=self.served)
            finally:
                if answer is not None:
                    await answer.discard()

    @property
    def served(self) -> Served:
        """Return who serves it."""
        one = self.instance
        return Served() if one is None else Served(one.id, one.release_id, one.commit, one.config_version)

    async def _call(self, instance: Instance) -> Answer:
        claim, limits = self.claim, self._tools.limits
        timeout_s = claim.timeout_s or instance.limits.timeout_s
        left_s = self._left_s()
        body = await self._tools.inputs.load(claim)
        progress = self._tools.progress
        sink = None if progress is None else progress.sink(claim.id, claim.attempt)
        try:
            call = Call(
                claim.id,
                claim.attempt,
                body,
                claim.content_type,
                timeout_s=timeout_s if left_s is None else min(timeout_s, left_s),
                max_answer_bytes=limits.max_result_bytes,
                listener=sink,
            )
            try:
                return await self._tools.instances.predict(instance.base_url, call)
            except CallFailed:
                self._check_deadline()
                raise
        finally:
            if sink is not None:
                sink.close()
            if isinstance(body, Path):
                await asyncio.to_thread(body.unlink, missing_ok=True)

    async def _store(self, answer: Answer) -> StoredResult:
        """Say where the result will be read from; what is not to be written behind is stored before.

        That takes as long as the object store is away: the work is done and is not done again.
        """
        claim = self.claim
        key = result_key(claim.id, claim.attempt)
        if answer.data is not None and await self._room_behind(answer.size):
            return StoredResult(key, answer.content_type, answer.size, answer.data, stored=False)
        failures = 0
        while True:
            try:
                await self._tools.results.put(key, answer)
                break
            except ObjectStoreUnavailable as error:
                failures += 1
                self._check_deadline()
                log.warning("result_waits_for_the_object_store", task=str(claim.id), error=error.detail)
                await asyncio.sleep(min(5.0, backoff_s(failures)))
            except AlgoDockError as error:
                raise AttemptFailed(Failure(Kind.PERMANENT, task_error("ResultNotStored", error.detail))) from error
        small = answer.data is not None and is_small_json(answer.content_type, answer.data)
        return StoredResult(key, answer.content_type, answer.size, answer.data if small else None)

    async def _room_behind(self, size: int) -> bool:
        """Wait for room among what is written behind; False when this is too large for it."""
        behind = self._tools.behind
        if behind.has_room(size):
            return True
        try:
            async with asyncio.timeout(self._left_s()):
                return await behind.room(size)
        except TimeoutError:
            raise _PastDeadline from None

    def _succeeded(self, result: StoredResult) -> End:
        claim = self.claim
        return End(
            claim.id,
            claim.attempt,
            "succeeded",
            result=result,
            served=self.served,
            traceparent=current_traceparent(),
        )

    def _after(self, failure: Failure) -> Outcome:
        claim = self.claim
        next_ = after_failure(failure, failures=claim.failures, max_attempts=claim.max_attempts)
        if isinstance(next_, Again):
            return GiveBack(
                claim.id,
                claim.attempt,
                "failed" if next_.spent else "not started",
                wait_s=next_.wait_s,
                spent=next_.spent,
                error=next_.error,
                served=self.served,
            )
        return End(
            claim.id,
            claim.attempt,
            next_.state,
            error=next_.error,
            served=self.served,
            traceparent=current_traceparent(),
        )

    def _left_s(self) -> float | None:
        self._check_deadline()
        return None if self._deadline is None else self._deadline - time.monotonic()

    def _check_deadline(self) -> None:
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise _PastDeadline


def _checked(answer: Answer) -> Answer:
    """Return the answer unless it calls itself JSON and is none; looked at when it is in memory (1 MiB)."""
    if answer.data is not None and breaks_its_word(answer.content_type, answer.data):
        error = task_error("InvalidAnswer", f"the answer is called {answer.content_type} and is no JSON")
        raise AttemptFailed(Failure(Kind.PERMANENT, error))
    return answer


class _PastDeadline(Exception):  # it is what it says
    """The task's deadline has come."""
