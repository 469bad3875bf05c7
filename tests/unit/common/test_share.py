"""A process's share of a service's slots, while nobody can be asked how many there are."""

from __future__ import annotations

import pytest

from algodock_common.capacity.share import SMALL, Share
from algodock_common.capacity.slots import Granted


class Keeper:
    """What settles shares; a test says whether it reaches the store."""

    def __init__(self) -> None:
        self.away = False
        self.asked = 0

    def ask(self, share: Share) -> None:
        self.asked += share.name == "echo"

    def now(self) -> float:
        return 1.0


@pytest.mark.parametrize(("limit", "goes_on"), [(1, False), (SMALL, False), (SMALL + 1, True)])
def test_a_slot_that_is_left_over_is_used_without_the_store_by_large_limits_only(limit: int, goes_on: bool) -> None:  # noqa: FBT001
    """It was granted to one who has left: nobody knows whether the store gave it to another process since."""
    keeper = Keeper()
    share = Share("echo", keeper)
    share.limit = limit
    share.settled(Granted(1), asked_at=0.0, lease_s=6.0)
    keeper.away = True
    assert share.enter(limit) is goes_on
    keeper.away = False
    assert share.enter(limit) is not goes_on, "one slot is used once"
