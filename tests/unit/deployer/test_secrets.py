"""Secrets: which names and values they may have."""

from __future__ import annotations

import pytest

from algodock_common.errors import InvalidInput
from algodock_deployer.domain.secrets import LONGEST, MOST, TooManySecrets, check_name, check_room, check_value

WRONG = (
    "",
    "lower", "A-B", "1A", "A" * 129, "PORT", "PATH", "PYTHONPATH", "LD_PRELOAD", "LD_AUDIT", "ALGODOCK_TOKEN", "A\n",
)  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_name_that_is_none_or_the_platforms_own_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        check_name(name)
    assert check_name("OPENAI_API_KEY_2") == "OPENAI_API_KEY_2"


@pytest.mark.parametrize("value", ["", "a\0b", "x" * (LONGEST + 1), "é" * (LONGEST // 2 + 1)])
def test_a_value_that_no_variable_holds_is_refused_without_repeating_it(value: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_value(value)
    assert "x" * 10 not in caught.value.detail
    assert check_value("x" * LONGEST)


def test_there_is_room_for_some_and_a_new_value_takes_the_place_of_the_old() -> None:
    full = {f"S{number}": 1 for number in range(MOST)}
    check_room(full, "S0", 1000)
    with pytest.raises(TooManySecrets, match="at most 32"):
        check_room(full, "NEW", 1)
    with pytest.raises(TooManySecrets):
        check_room({"A": LONGEST, "B": LONGEST, "C": LONGEST}, "D", 1)
