"""Weights of a canary."""

from __future__ import annotations

from uuid import UUID

import pytest

from algodock_deployer.domain.canaries import shares
from algodock_deployer.domain.errors import ManifestInvalid
from algodock_deployer.domain.manifest import parse_manifest

A, B, C, D = (UUID(int=number) for number in range(1, 5))


@pytest.mark.parametrize("percent", [1, 10, 33, 50, 99])
@pytest.mark.parametrize(("live", "canary"), [([A], [D]), ([A, B, C], [D]), ([A], [C, D])])
def test_a_canary_gets_its_per_cent_whatever_the_number_of_instances(
    live: list[UUID], canary: list[UUID], percent: int
) -> None:
    weights = shares(live, canary, percent)
    assert sum(weights[one] for one in canary) * 100 == percent * sum(weights.values())
    assert len({weights[one] for one in live}) == len({weights[one] for one in canary}) == 1
    assert min(weights.values()) > 0


def test_ninety_and_ten_are_nine_and_one() -> None:
    assert shares([A], [D], 10) == {A: 9, D: 1}


@pytest.mark.parametrize("text", ["canary: 0", "canary: 100", "strategy: canary\nport: 9000"])
def test_a_canary_that_cannot_be_is_said(text: str) -> None:
    with pytest.raises(ManifestInvalid, match="canary"):
        parse_manifest(text.encode())
