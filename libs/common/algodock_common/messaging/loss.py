"""Noticing that a broker lost what it held: the embedded one keeps messages in memory, a cluster may lose its disks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka import TopicPartition

__all__ = ["LossWatch"]

log = structlog.get_logger()


class LossWatch:
    """Remembers the cluster's id and where its partitions ended: another id or an earlier end means a loss.

    Ends are only compared with ends. Some brokers count a batch as one message in the end that they
    report, so an end may lie before a message that was read or confirmed.
    """

    def __init__(self) -> None:
        """It begins knowing nothing, so the first look finds no loss."""
        self._cluster: str | None = None
        self._ends: Mapping[TopicPartition, int] = {}

    def lost(self, cluster: str | None, ends: Mapping[TopicPartition, int]) -> bool:
        """Return whether the broker lost what it had at the last look, by its id and where partitions end now."""
        another = self._cluster is not None and cluster != self._cluster
        shorter = [partition for partition, end in ends.items() if end < self._ends.get(partition, 0)]
        self._cluster, self._ends = cluster, {**self._ends, **ends}
        if another or shorter:
            log.warning("broker_lost_events", another_cluster=another, topics=sorted({one.topic for one in shorter}))
        return another or bool(shorter)
