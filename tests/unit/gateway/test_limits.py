"""Who may set an algorithm's limits."""

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock

import pytest

from algodock_common.identifiers import uuid7
from algodock_gateway.domain import NotTheOwner
from algodock_gateway.domain.algorithm import Algorithm
from algodock_gateway.domain.keys import ApiKey
from algodock_gateway.handlers.algorithms import Algorithms


@pytest.mark.parametrize(("name", "roles"), [("somebody", ("user",)), ("", ()), ("ADA", ("user",))])
async def test_nobody_sets_the_limits_of_somebody_elses_algorithm(name: str, roles: tuple[str, ...]) -> None:
    known: Any = MagicMock()

    async def find(_: str) -> Algorithm:
        return Algorithm(uuid7(), "echo", "created", "ada", "")

    known.find = find
    algorithms = Algorithms(MagicMock(), MagicMock(), known)
    with pytest.raises(NotTheOwner) as refused:
        await algorithms.limit("echo", {"queue": 1}, caller=ApiKey(uuid7(), name, roles))
    assert refused.value.status == 403
