"""Dead letters: listed, shown, replayed."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, status
from pydantic import BaseModel

from algodock_common.web import Identity, current_identity
from algodock_runner.domain.dead_letters import (
    DeadLetterDetail,
    DeadLetterFilter,
    DeadLetterQuery,
    DeadLetterSummary,
    Replayed,
)
from algodock_runner.handlers.dead_letters import DeadLetters
from algodock_runner.routes.access import Owner

__all__ = ["DeadLetterPage", "router"]


class DeadLetterPage(BaseModel):
    """A page of dead letters; ``next`` goes into ``after`` for the page that follows."""

    dead_letters: list[DeadLetterSummary]
    next: UUID | None


def _letters(request: Request) -> DeadLetters:
    found: DeadLetters = request.app.state.dead_letters
    return found


Letters = Annotated[DeadLetters, Depends(_letters)]

router = APIRouter(prefix="/internal/dead-letters")


@router.get("")
async def list_letters(wanted: Annotated[DeadLetterQuery, Query()], letters: Letters, owner: Owner) -> DeadLetterPage:
    """List dead letters, newest first."""
    page = await letters.page(DeadLetterFilter(owner=owner, **wanted.model_dump()))
    return DeadLetterPage(dead_letters=page, next=page[-1].id if len(page) == wanted.limit else None)


@router.get("/{letter_id}")
async def get_letter(letter_id: UUID, letters: Letters, owner: Owner) -> DeadLetterDetail:
    """Return one dead letter."""
    return await letters.get(letter_id, owner=owner)


@router.post("/{letter_id}/replay", status_code=status.HTTP_202_ACCEPTED)
async def replay_letter(
    letter_id: UUID, letters: Letters, owner: Owner, identity: Annotated[Identity, Depends(current_identity)]
) -> Replayed:
    """Do again what failed."""
    return await letters.replay(letter_id, owner=owner, caller=identity.key_id)
