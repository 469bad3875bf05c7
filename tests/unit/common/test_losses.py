"""A broker that lost what it held: told by another cluster's id or by ends that lie before those of the last look."""

from __future__ import annotations

from typing import Any, cast

import pytest
from aiokafka import TopicPartition

from algodock_common.messaging.loss import LossWatch
from algodock_common.messaging.subscriptions import Subscriptions

ONE, TWO = TopicPartition("task.ready", 0), TopicPartition("task.ready", 1)


def test_the_first_look_finds_no_loss_and_growing_ends_are_none() -> None:
    watch = LossWatch()
    assert not watch.lost("a", {ONE: 5})
    assert not watch.lost("a", {ONE: 5, TWO: 0})
    assert not watch.lost("a", {ONE: 9, TWO: 1})
    assert not watch.lost("a", {})  # partitions that another member has now


def test_another_cluster_is_a_loss_however_far_its_offsets_are() -> None:
    """Its groups and offsets are not those of the one before, also where there are more of them."""
    watch = LossWatch()
    assert not watch.lost(None, {})  # nobody has answered yet
    assert not watch.lost("a", {ONE: 5})
    assert watch.lost("b", {ONE: 500})
    assert not watch.lost("b", {ONE: 500})


@pytest.mark.parametrize("cluster", ["a", None])
def test_an_earlier_end_is_a_loss_also_of_a_broker_that_keeps_its_id(cluster: str | None) -> None:
    watch = LossWatch()
    assert not watch.lost(cluster, {ONE: 5, TWO: 3})
    assert not watch.lost(cluster, {ONE: 6})
    assert watch.lost(cluster, {ONE: 6, TWO: 2})
    assert not watch.lost(cluster, {ONE: 6, TWO: 2})


class _Consumer:
    def __init__(self) -> None:
        self.sought: list[TopicPartition] = []

    def assignment(self) -> set[TopicPartition]:
        return {ONE, TWO}

    async def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        self.sought += partitions


class _Subscriber:
    def __init__(self, group_id: str | None) -> None:
        self.group_id = group_id
        self.consumer = _Consumer()


class _Broker:
    def __init__(self, *subscribers: _Subscriber) -> None:
        self.subscribers = list(subscribers)


async def test_after_a_loss_those_without_a_group_read_from_the_beginning() -> None:
    """Their positions are the old broker's; a group's broker knows none of it, and begins where it shall."""
    broadcast, group = _Subscriber(None), _Subscriber("algodock-worker-task.ready")
    await Subscriptions(cast("Any", _Broker(broadcast, group))).read_from_start()
    assert set(broadcast.consumer.sought) == {ONE, TWO}
    assert not group.consumer.sought
