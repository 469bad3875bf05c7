"""Groups of services: made, changed and removed by people; removing one leaves its services alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from algodock_deployer.domain.errors import GroupExists, GroupNotFound, ServiceNotFound
from algodock_deployer.repository import Groups

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

    from algodock_deployer.domain.groups import Group
    from algodock_deployer.handlers.context import Context

__all__ = ["all_groups", "change_group", "drop_group", "find_group", "make_group"]


async def all_groups(context: Context) -> Sequence[Group]:
    """Return all groups by name."""
    async with context.database.read() as session:
        return await Groups(session).all()


async def find_group(context: Context, name: str) -> Group:
    """Return one group.

    Raises:
        GroupNotFound: there is none of this name.
    """
    async with context.database.read() as session:
        return await _found(session, name)


async def make_group(context: Context, name: str, services: Collection[str], *, owner: str) -> Group:
    """Make a group of these services, which leave the groups that they were in.

    Raises:
        GroupExists: there is one of this name.
        ServiceNotFound: a service is not there; nothing was made.
    """
    async with context.database.transaction() as tx:
        group_id = await Groups(tx.session).add(name, owner)
        if group_id is None:
            raise GroupExists(f"there is a group {name!r} already; change it instead")
        await _put_in(tx.session, group_id, services)
        return await _found(tx.session, name)


async def change_group(
    context: Context, name: str, *, rename: str | None, add: Collection[str], remove: Collection[str],
    services: Collection[str] | None,
) -> Group:  # fmt: skip
    """Take services out, put services in, or say which ones it shall have, and give it another name.

    Raises:
        GroupNotFound: there is none of this name.
        GroupExists: another group has the new name.
        ServiceNotFound: a service to put in is not there; nothing was changed.
    """
    async with context.database.transaction() as tx:
        groups = Groups(tx.session)
        group_id = await groups.locked(name)
        if group_id is None:
            raise _none(name)
        if services is not None:
            await groups.take_out(group_id)
            await _put_in(tx.session, group_id, services)
        await groups.take_out(group_id, remove)
        await _put_in(tx.session, group_id, add)
        if rename is not None and not await groups.rename(group_id, rename):
            raise GroupExists(f"there is a group {rename!r} already; choose another name")
        return await _found(tx.session, rename or name)


async def drop_group(context: Context, name: str) -> None:
    """Remove a group; its services go on without one.

    Raises:
        GroupNotFound: there is none of this name.
    """
    async with context.database.transaction() as tx:
        if not await Groups(tx.session).remove(name):
            raise _none(name)


async def _found(session: AsyncSession, name: str) -> Group:
    groups = await Groups(session).all(name)
    if not groups:
        raise _none(name)
    return groups[0]


async def _put_in(session: AsyncSession, group_id: UUID, names: Collection[str]) -> None:
    missing = await Groups(session).put_in(group_id, names) if names else ()
    if missing:
        raise ServiceNotFound(f"there is no service {', '.join(map(repr, missing))}")


def _none(name: str) -> GroupNotFound:
    return GroupNotFound(f"there is no group {name!r}")
