"""``/api/v1/algorithms``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from algodock_common.events import AlgorithmLimits
from algodock_gateway.routes.api.answers import AlgorithmAnswer, AlgorithmsAnswer, Problem
from algodock_gateway.routes.gatekeeper import Caller

if TYPE_CHECKING:
    from algodock_gateway.handlers.algorithms import Algorithms

__all__ = ["make_router"]


class NewAlgorithm(BaseModel):
    """What an algorithm is called: a DNS label."""

    model_config = ConfigDict(extra="ignore")

    name: str = Field(min_length=1, max_length=255, examples=["text-classify"])


class ChangedLimits(AlgorithmLimits):
    """Limits to set; null takes one away, and what is not named stays."""

    model_config = ConfigDict(extra="forbid")


class AlgorithmChange(BaseModel):
    """What changes of an algorithm."""

    model_config = ConfigDict(extra="forbid")

    limits: ChangedLimits


def make_router(algorithms: Algorithms) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/algorithms", tags=["algorithms"])

    @router.post("", status_code=201, responses={200: {"model": AlgorithmAnswer, "description": "It was there"}})
    async def make(body: NewAlgorithm, caller: Caller, response: Response) -> AlgorithmAnswer:
        """Make an algorithm and the repository that its code is pushed to; again: the same."""
        algorithm, made = await algorithms.with_repository(body.name, owner=caller.name)
        response.status_code = 201 if made else 200
        return AlgorithmAnswer.model_validate(algorithm)

    @router.get("")
    async def all_algorithms(_: Caller) -> AlgorithmsAnswer:
        """List the algorithms."""
        return AlgorithmsAnswer(algorithms=[AlgorithmAnswer.model_validate(one) for one in await algorithms.all()])

    @router.get("/{name_or_id}")
    async def get(name_or_id: str, _: Caller) -> AlgorithmAnswer:
        """Show one algorithm."""
        return AlgorithmAnswer.model_validate(await algorithms.find(name_or_id))

    @router.patch("/{name_or_id}", responses={403: {"model": Problem, "description": "It is somebody else's"}})
    async def change(name_or_id: str, body: AlgorithmChange, caller: Caller) -> AlgorithmAnswer:
        """Set limits of its tasks: how many may wait, and how long and how much of their results is kept."""
        said = body.limits.model_dump(exclude_unset=True)
        return AlgorithmAnswer.model_validate(await algorithms.limit(name_or_id, said, caller=caller))

    return router
