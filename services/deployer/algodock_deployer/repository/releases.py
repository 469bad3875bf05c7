"""``releases`` and ``builds``: one row a commit on its way; steps with times by the database's clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, insert

from algodock_common.identifiers import uuid7
from algodock_deployer.domain.releases import IN_PROGRESS, Release
from algodock_deployer.repository.tables import builds, releases, services

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from algodock_common.events import CodePushed

__all__ = ["Releases"]

_COLUMNS = tuple(column for column in releases.c if column.name not in {"cleaned_at", "watched_until"})

_PUSHED = ("service_id", "algorithm", "commit", "ref", "message", "pusher", "bundle_key", "problem")


def _release(row: Any) -> Release:
    return Release(**row._asdict())


class Releases:
    """Reads and writes releases in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Use ``session``."""
        self._session = session

    async def again(self, release: Release, release_id: UUID, pusher: str, traceparent: str | None) -> Release:
        """Queue a release of the same commit under an id of the caller's; repeated, it is the same one."""
        values = {name: getattr(release, name) for name in _PUSHED} | {
            "id": release_id,
            "pusher": pusher,
            "traceparent": traceparent,
        }
        statement = insert(releases).values(values).on_conflict_do_nothing(index_elements=["id"])
        await self._session.execute(statement)
        return _release((await self._session.execute(sa.select(*_COLUMNS).where(releases.c.id == release_id))).one())

    async def add(self, code: CodePushed, traceparent: str | None) -> Release:
        """Queue a release of what was pushed."""
        values = {
            "id": uuid7(),
            "service_id": code.algorithm_id,
            "algorithm": code.algorithm,
            "commit": code.commit,
            "ref": code.ref,
            "message": code.message,
            "pusher": code.pusher,
            "bundle_key": code.bundle_key,
            "problem": code.problem,
            "traceparent": traceparent,
        }
        statement = sa.insert(releases).values(values).returning(*_COLUMNS)
        return _release((await self._session.execute(statement)).one())

    async def newest(self, service_id: UUID) -> Release | None:
        """Return the release that was made last."""
        query = sa.select(*_COLUMNS).where(releases.c.service_id == service_id)
        row = (await self._session.execute(query.order_by(releases.c.created_at.desc(), releases.c.id.desc()))).first()
        return _release(row) if row else None

    async def supersede_queued(self, service_id: UUID, reason: str) -> Sequence[Release]:
        """End what waits in the queue: a newer commit takes its place."""
        statement = (
            sa.update(releases)
            .where(releases.c.service_id == service_id, releases.c.state == "queued")
            .values(state="superseded", reason=reason)
            .returning(*_COLUMNS)
        )
        return [_release(row) for row in await self._session.execute(statement)]

    async def queued_after(self, release: Release) -> Release | None:
        """Return a release of the same service that was pushed later and waits."""
        query = sa.select(*_COLUMNS).where(
            releases.c.service_id == release.service_id,
            releases.c.state == "queued",
            releases.c.created_at > release.created_at,
        )
        row = (await self._session.execute(query.order_by(releases.c.created_at.desc()))).first()
        return _release(row) if row else None

    async def get(self, release_id: UUID) -> Release | None:
        """Return one release."""
        row = (await self._session.execute(sa.select(*_COLUMNS).where(releases.c.id == release_id))).first()
        return _release(row) if row else None

    async def live(self) -> dict[UUID, Release]:
        """Return the releases that serve, or that a start brings back, without their steps and plans."""
        columns = [column for column in _COLUMNS if column.name not in {"steps", "plan"}]
        query = sa.select(*columns).join(services, services.c.live_release_id == releases.c.id)
        return {row.id: _release(row) for row in await self._session.execute(query)}

    async def of_service(self, service_id: UUID, *, commit: str | None = None, limit: int = 50) -> Sequence[Release]:
        """Return a service's releases, newest first; ``commit`` may be its beginning."""
        query = sa.select(*_COLUMNS).where(releases.c.service_id == service_id)
        if commit:
            query = query.where(releases.c.commit.startswith(commit, autoescape=True))
        query = query.order_by(releases.c.created_at.desc(), releases.c.id.desc()).limit(limit)
        return [_release(row) for row in await self._session.execute(query)]

    async def next_to_do(self, service_id: UUID) -> Release | None:
        """Return what to work on: what a crash left in the middle, else the oldest in the queue."""
        query = (
            sa.select(*_COLUMNS)
            .where(releases.c.service_id == service_id, releases.c.state.in_((*IN_PROGRESS, "queued")))
            .order_by((releases.c.state == "queued").asc(), releases.c.created_at)
        )
        row = (await self._session.execute(query)).first()
        return _release(row) if row else None

    async def before(self, service_id: UUID, live: UUID | None) -> Release | None:
        """Return the release that was live before ``live``."""
        query = (
            sa.select(*_COLUMNS)
            .where(
                releases.c.service_id == service_id,
                releases.c.live_at.is_not(None),
                releases.c.state.in_(("kept", "draining")),
                releases.c.id != live if live else sa.true(),
            )
            .order_by(releases.c.live_at.desc())
        )
        row = (await self._session.execute(query)).first()
        return _release(row) if row else None

    async def update(self, release_id: UUID, **values: Any) -> Release:
        """Set columns and return the release as it is then."""
        statement = sa.update(releases).where(releases.c.id == release_id).values(**values).returning(*_COLUMNS)
        return _release((await self._session.execute(statement)).one())

    async def begin_step(self, release_id: UUID, name: str, before: str = "", **values: Any) -> Release:
        """Note that a step begins, which ends the one before it; ``before`` is that one's detail."""
        step = sa.func.jsonb_build_object("name", name, "started_at", sa.func.clock_timestamp(), "detail", "")
        return await self.update(release_id, steps=_ended(before).op("||")(step), **values)

    async def end_step(self, release_id: UUID, detail: str = "", **values: Any) -> Release:
        """Note that the last step ended; ``detail`` is for people."""
        return await self.update(release_id, steps=_ended(detail), **values)

    async def begin_again(self, release_id: UUID, **values: Any) -> Release:
        """Forget the steps of an earlier try."""
        return await self.update(release_id, steps=[], reason="", **values)

    async def went_live(self, release_id: UUID, detail: str = "") -> Release:
        """Note that the release serves from now on."""
        return await self.end_step(
            release_id, detail, state="live", reason="", live_at=sa.func.clock_timestamp(), cleaned_at=None
        )

    async def watch(self, release_id: UUID, seconds: float) -> None:
        """Have a release watched for so long; 0 ends its watch."""
        until = sa.func.now() + sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds) if seconds > 0 else None
        await self.update(release_id, watched_until=until)

    async def watched(self) -> Sequence[Release]:
        """Return the releases, live or canary, whose watch is not over."""
        query = sa.select(*_COLUMNS).where(
            releases.c.state.in_(("live", "canary")), releases.c.watched_until > sa.func.now()
        )
        return [_release(row) for row in await self._session.execute(query)]

    async def proven_before(self, release: Release) -> Release | None:
        """Return the release to go back to: the last one that was live, is older, and was not withdrawn itself."""
        query = (
            sa.select(*_COLUMNS)
            .where(
                releases.c.service_id == release.service_id,
                releases.c.live_at.is_not(None),
                releases.c.state.in_(("kept", "draining")),
                releases.c.reason == "",
                releases.c.created_at < release.created_at,
            )
            .order_by(releases.c.live_at.desc())
        )
        row = (await self._session.execute(query)).first()
        return _release(row) if row else None

    async def cleanable(self, service_id: UUID, *, keep: int) -> Sequence[UUID]:
        """Return ended releases whose folders can go: all that failed, and all kept ones but the last ``keep``."""
        kept = (
            sa.select(releases.c.id)
            .where(releases.c.service_id == service_id, releases.c.live_at.is_not(None))
            .order_by(releases.c.live_at.desc())
            .limit(keep)
        )
        query = sa.select(releases.c.id).where(
            releases.c.service_id == service_id,
            releases.c.cleaned_at.is_(None),
            releases.c.state.in_(("kept", "failed", "superseded")),
            releases.c.id.not_in(kept),
        )
        return (await self._session.execute(query)).scalars().all()

    async def cleaned(self, release_id: UUID) -> None:
        """Note that the release's folder is gone."""
        await self.update(release_id, cleaned_at=sa.func.now())

    async def environments_in_use(self) -> Sequence[str]:
        """Return the keys of environments that a release which may run again stands on."""
        query = sa.select(releases.c.environment_key).where(
            releases.c.environment_key.is_not(None),
            releases.c.cleaned_at.is_(None),
            releases.c.state.not_in(("failed", "superseded")),
        )
        return [str(key) for key in (await self._session.execute(query.distinct())).scalars()]

    async def begin_build(self, release_id: UUID, node_id: str) -> None:
        """Note that a build's output begins."""
        statement = insert(builds).values(release_id=release_id, node_id=node_id)
        again = {"node_id": node_id, "outcome": "running", "started_at": sa.func.now(), "ended_at": None}
        await self._session.execute(statement.on_conflict_do_update(index_elements=["release_id"], set_=again))

    async def end_build(self, release_id: UUID, *, outcome: str, log_key: str) -> None:
        """Note where a build's output lies, for good."""
        statement = sa.update(builds).where(builds.c.release_id == release_id)
        await self._session.execute(statement.values(outcome=outcome, log_key=log_key, ended_at=sa.func.now()))

    async def build(self, release_id: UUID) -> tuple[str, str] | None:
        """Return a build's outcome and the key of its output, None before it began."""
        query = sa.select(builds.c.outcome, builds.c.log_key).where(builds.c.release_id == release_id)
        row = (await self._session.execute(query)).first()
        return (row.outcome, row.log_key) if row else None


def _ended(detail: str = "") -> sa.ColumnElement[Any]:
    """Return the steps with an end for the last one, if it has none yet."""
    said: tuple[Any, ...] = ("detail", detail) if detail else ()
    end = sa.func.jsonb_build_object("ended_at", sa.func.clock_timestamp(), *said)
    last = releases.c.steps[-1]
    running = sa.and_(sa.func.jsonb_array_length(releases.c.steps) > 0, last["ended_at"].astext.is_(None))
    closed = sa.func.jsonb_set(releases.c.steps, sa.text("'{-1}'"), last.op("||")(end))
    return sa.case((running, closed), else_=releases.c.steps).cast(JSONB)
