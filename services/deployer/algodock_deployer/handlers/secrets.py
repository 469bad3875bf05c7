"""Secrets of services: kept encrypted, told to instances when they start, and to nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from algodock_common.identifiers import uuid7
from algodock_deployer.domain.errors import SecretMissing
from algodock_deployer.domain.secrets import SecretUnknown, check_name, check_room, check_value
from algodock_deployer.repository import Secrets, Services, Timeline

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from algodock_common.database import Transaction
    from algodock_deployer.domain.manifest import Manifest
    from algodock_deployer.domain.releases import Service
    from algodock_deployer.handlers.context import Context
    from algodock_deployer.repository import SealedSecret

__all__ = ["check_secrets", "put_secret", "remove_secret", "secrets_of", "values_of"]

log = structlog.get_logger()


async def put_secret(context: Context, algorithm_id: UUID, name: str, value: str, *, actor: str) -> None:
    """Keep a secret; instances get it when they start next.

    Raises:
        InvalidInput: the name or the value cannot be a variable of a program.
        TooManySecrets: there is no room for one more.
    """
    check_name(name)
    size, row = len(check_value(value).encode()), uuid7()
    async with context.database.transaction() as tx:
        secrets = Secrets(tx.session)
        await secrets.hold(algorithm_id)
        check_room({one.name: one.size for one in await secrets.of(algorithm_id)}, name, size)
        await secrets.put(algorithm_id, name, row=row, sealed=context.vault.seal(value, row), size=size, actor=actor)
        await _note(tx, algorithm_id, f"{name} was set", actor)
    log.info("secret_set", algorithm=str(algorithm_id), name=name, by=actor)


async def remove_secret(context: Context, algorithm_id: UUID, name: str, *, actor: str) -> None:
    """Forget a secret; instances that run keep it until they are started anew.

    Raises:
        SecretUnknown: there is none of this name.
    """
    async with context.database.transaction() as tx:
        if not await Secrets(tx.session).remove(algorithm_id, name):
            raise SecretUnknown(f"there is no secret {name}")
        await _note(tx, algorithm_id, f"{name} was removed", actor)
    log.info("secret_removed", algorithm=str(algorithm_id), name=name, by=actor)


async def secrets_of(context: Context, algorithm_id: UUID) -> Sequence[SealedSecret]:
    """Return what is known of a service's secrets; their values stay sealed."""
    async with context.database.read() as session:
        return await Secrets(session).of(algorithm_id)


async def values_of(context: Context, algorithm_id: UUID) -> dict[str, str]:
    """Return a service's secrets by name, for an instance that starts.

    Raises:
        VaultLocked: one cannot be read any more.
    """
    return {one.name: context.vault.open(one.sealed, one.id) for one in await secrets_of(context, algorithm_id)}


async def check_secrets(context: Context, service: Service, manifest: Manifest) -> None:
    """See to it that a secret which the manifest names is there.

    Raises:
        SecretMissing: it is not, and how to set it.
    """
    wanted = manifest.openai.secret if manifest.openai else None
    if wanted and wanted not in {one.name for one in await secrets_of(context, service.id)}:
        raise SecretMissing(
            f"openai.secret is {wanted}, and there is no such secret: algodock secret set {service.name} {wanted}"
        )


async def _note(tx: Transaction, algorithm_id: UUID, detail: str, actor: str) -> None:
    """Write it into the timeline, where there is a service already."""
    if await Services(tx.session).find(str(algorithm_id)) is not None:
        await Timeline(tx.session).note(algorithm_id, "secret", actor=actor, detail=detail)
