"""Alembic, run by each service at its start under a lock: replicas may start together."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from algodock_common.settings import DatabaseSettings

__all__ = ["latest_revision", "migrate"]

log = structlog.get_logger()


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        msg = f"no package {package!r} to take migrations from"
        raise ModuleNotFoundError(msg)
    return Path(next(iter(spec.submodule_search_locations)))


def latest_revision(package: str) -> str:
    """Return the newest revision: files are ``versions/NNNN_words.py`` with ``revision = "NNNN"``."""
    return max(path.stem.split("_", 1)[0] for path in (_folder(package) / "versions").glob("[0-9]*.py"))


async def migrate(settings: DatabaseSettings, *, schema: str, migrations: str) -> None:
    """Bring ``schema`` to the newest revision in the package ``migrations``.

    Raises:
        sqlalchemy.exc.DBAPIError, OSError: PostgreSQL is away or refuses; the caller's supervisor starts it again.
    """
    engine = create_async_engine(
        settings.sqlalchemy_url(),
        poolclass=NullPool,
        connect_args={"timeout": 10, "server_settings": {"search_path": schema}},
    )
    try:
        async with engine.connect() as connection:
            if await connection.run_sync(_current, schema) == latest_revision(migrations):
                return  # Alembic is slow to import, and there is nothing to do
            await connection.execute(
                sa.text("SELECT pg_advisory_lock(hashtext(:name))"), {"name": f"algodock/{schema}"}
            )
            await connection.commit()
            await connection.run_sync(_upgrade, schema, migrations)
            await connection.commit()
    finally:
        await engine.dispose()  # closing the connection frees the lock


def _current(connection: sa.Connection, schema: str) -> str | None:
    name = connection.scalar(sa.text("SELECT to_regclass(:name)"), {"name": f'"{schema}".alembic_version'})
    if name is None:
        connection.rollback()
        return None
    version: str | None = connection.scalar(sa.text(f'SELECT version_num FROM "{schema}".alembic_version'))  # noqa: S608  # the schema's name is ours
    connection.rollback()
    return version


def _upgrade(connection: sa.Connection, schema: str, migrations: str) -> None:
    from alembic.config import Config  # heavy; only when there is something to do
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    connection.execute(sa.text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))
    connection.commit()
    script = ScriptDirectory(str(_folder(migrations)))

    def steps(revision: Any, _context: Any) -> Any:
        return script._upgrade_revs("head", revision)  # noqa: SLF001  # what alembic.command.upgrade does

    with EnvironmentContext(Config(), script, fn=steps, destination_rev="head") as context:
        context.configure(connection=connection, version_table_schema=schema)
        with context.begin_transaction():
            context.run_migrations()
    log.info("migrated", schema=schema, revision=latest_revision(migrations))
