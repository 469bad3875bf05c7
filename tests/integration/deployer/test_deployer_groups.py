"""Many services at once: groups, redeploys, how commands stand, and what a look at all of them costs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from algodock_common.identifiers import uuid7
from algodock_deployer import handlers
from algodock_deployer.domain.errors import GroupExists, GroupNotFound, ServiceNotFound
from algodock_deployer.repository import Services

from .conftest import eventually

if TYPE_CHECKING:
    from algodock_deployer.domain.releases import Operation

    from .conftest import Deployer


async def _known(deployer: Deployer, *names: str) -> None:
    async with deployer.context.database.transaction() as tx:
        for name in names:
            await Services(tx.session).put(deployer.ids.setdefault(name, uuid4()), name)


async def _ended(deployer: Deployer, operation_id: UUID) -> Operation:
    async def look() -> Operation | None:
        found = await handlers.find_operations(deployer.context, [operation_id])
        return found[0] if found and found[0].state in {"done", "failed"} else None

    return await eventually(look, 60, "the operation to end")


async def test_a_service_is_in_one_group_and_outlives_it(deployer: Deployer) -> None:
    context = deployer.context
    await _known(deployer, "ocr", "chat")
    made = await handlers.make_group(context, "vision", ["ocr", "chat"], owner="ann")
    assert (made.owner, made.services) == ("ann", ("chat", "ocr"))
    await handlers.make_group(context, "talk", ["chat"], owner="ann")
    assert (await handlers.find_group(context, "vision")).services == ("ocr",)
    assert (await deployer.service("chat")).service.group == "talk"
    changed = await handlers.change_group(context, "talk", rename="words", add=["ocr"], remove=["chat"], services=None)
    assert (changed.name, changed.services) == ("words", ("ocr",))
    whole = await handlers.change_group(context, "words", rename=None, add=[], remove=[], services=["chat"])
    assert whole.services == ("chat",)
    await handlers.drop_group(context, "words")
    assert (await deployer.service("chat")).service.group is None
    names = [one.name for one in await handlers.all_groups(context)]
    assert ("vision" in names, "words" in names) == (True, False)


async def test_a_change_of_a_group_that_cannot_be_changes_nothing(deployer: Deployer) -> None:
    context = deployer.context
    await _known(deployer, "eye", "ear")
    await handlers.make_group(context, "seeing", ["eye"], owner="")
    await handlers.make_group(context, "hearing", [], owner="")
    with pytest.raises(GroupExists):
        await handlers.make_group(context, "seeing", [], owner="")
    with pytest.raises(ServiceNotFound, match="none"):
        await handlers.make_group(context, "other", ["ear", "none"], owner="")
    with pytest.raises(ServiceNotFound):
        await handlers.change_group(context, "seeing", rename=None, add=["none"], remove=["eye"], services=None)
    with pytest.raises(GroupExists):
        await handlers.change_group(context, "seeing", rename="hearing", add=["ear"], remove=[], services=None)
    assert (await handlers.find_group(context, "seeing")).services == ("eye",)
    for gone in (
        handlers.find_group(context, "other"),
        handlers.drop_group(context, "other"),
        handlers.change_group(context, "other", rename=None, add=[], remove=[], services=None),
    ):
        with pytest.raises(GroupNotFound):
            await gone


async def test_a_redeploy_is_a_new_release_of_the_newest_commit(deployer: Deployer) -> None:
    first = await deployer.live("again", deployer.program("one"))
    asked = await deployer.command("again", "redeploy")
    assert (await _ended(deployer, asked)).state == "done"
    releases = await handlers.releases_of(deployer.context, "again", commit=None, limit=9)
    assert [one.commit for one in releases] == [first.commit, first.commit]
    assert (releases[0].id, releases[0].state) == (asked, "live")
    assert (await deployer.answer("again"))["release"] == str(asked)


async def test_a_redeploy_that_fails_says_why_and_the_old_release_serves_on(deployer: Deployer) -> None:
    first = await deployer.live("broken", deployer.program("one"))
    await deployer.push("broken", {"main.py": "raise RuntimeError('not today')"}, commit="b" * 40)
    await deployer.release("broken", "b" * 40, "failed")
    ended = await _ended(deployer, await deployer.command("broken", "redeploy"))
    assert ended.state == "failed"
    assert "RuntimeError: not today" in ended.reason
    assert (await deployer.answer("broken"))["release"] == str(first.id)


async def test_a_redeploy_of_what_was_never_pushed_is_refused(deployer: Deployer) -> None:
    await _known(deployer, "empty")
    ended = await _ended(deployer, await deployer.command("empty", "redeploy"))
    assert ended.state == "failed"
    assert "push its code" in ended.reason
    assert not await handlers.find_operations(deployer.context, [uuid7()])


async def test_a_look_at_all_services_asks_the_database_as_often_for_many_as_for_one(deployer: Deployer) -> None:
    release = await deployer.live("looked-at", deployer.program("one"))
    asked: list[str] = []
    engine = deployer.context.database.engine.sync_engine
    looking = asyncio.current_task()

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if asyncio.current_task() is looking:
            asked.append(statement)

    sa.event.listen(engine, "before_cursor_execute", count)
    seen = []
    for names in (["looked-at"], [f"s{number}" for number in range(20)]):
        await _known(deployer, *names)
        async with deployer.context.database.transaction() as tx:
            for name in names:
                await Services(tx.session).update(deployer.ids[name], live_release_id=release.id)
        asked.clear()
        views = await handlers.find_services(deployer.context)
        seen.append((len(views), len(asked)))
        assert sum(view.release is not None and view.release.commit == release.commit for view in views) >= len(names)
    sa.event.remove(engine, "before_cursor_execute", count)
    assert seen[1][0] == seen[0][0] + 20
    assert seen[0][1] == seen[1][1]
