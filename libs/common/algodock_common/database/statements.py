"""Statements with named values, as the driver takes them: numbered. Each is translated once."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from sqlalchemy.dialects.postgresql.asyncpg import dialect

if TYPE_CHECKING:
    import sqlalchemy as sa

__all__ = ["positional"]


@lru_cache(maxsize=256)
def positional(statement: sa.TextClause) -> tuple[str, tuple[str, ...]]:
    """Return the statement with ``$1``, ``$2``, … and the names of the values in that order."""
    compiled = statement.compile(dialect=dialect())  # type: ignore[no-untyped-call]  # SQLAlchemy has no types there
    return str(compiled), tuple(compiled.positiontup or ())
