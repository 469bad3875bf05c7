"""Whose tasks a caller may see and move."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from algodock_common.web import IDENTITY_HEADER, current_identity
from algodock_runner.handlers.look import Desk

__all__ = ["ADMIN", "Own", "Owner", "TheDesk"]

ADMIN = "admin"


async def _visible_owner(request: Request) -> str | None:
    """Return whose tasks the caller may see: an administrator, and a service for itself, everybody's."""
    if IDENTITY_HEADER not in request.headers:
        return None
    identity = await current_identity(request)
    return None if ADMIN in identity.roles else identity.key_id


def _desk(request: Request) -> Desk:
    found: Desk = request.app.state.desk
    return found


async def _own(request: Request) -> str | None:
    """Return who the caller is; None for a service that asks for itself."""
    return (await current_identity(request)).key_id if IDENTITY_HEADER in request.headers else None


Owner = Annotated[str | None, Depends(_visible_owner)]
Own = Annotated[str | None, Depends(_own)]
TheDesk = Annotated[Desk, Depends(_desk)]
