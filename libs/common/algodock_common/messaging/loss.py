"""Noticing that a broker lost what it held: the embedded one keeps messages in memory, a cluster may lose its disks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiokafka import AIOKafkaConsumer

__all__ = ["LossWatch"]

log = structlog.get_logger()


class LossWatch:
    """Compares where the broker ends with what it confirmed to us and what we have read."""

    def __init__(self) -> None:
        """It begins knowing nothing."""
        self._confirmed: dict[TopicPartition, int] = {}

    def confirmed(self, record: Any) -> None:
        """Note what the broker confirmed (aiokafka's ``RecordMetadata``)."""
        partition = TopicPartition(record.topic, record.partition)
        self._confirmed[partition] = max(record.offset, self._confirmed.get(partition, -1))

    async def lost(self, consumers: Iterable[AIOKafkaConsumer]) -> bool:
        """Return whether the broker lost something; consumers that stand past its end go back to the start.

        Raises:
            aiokafka.errors.KafkaError: the broker does not answer.
        """
        found = False
        for consumer in consumers:
            # What we know first: an end that was read later and is smaller can only come from a loss.
            positions = {partition: await consumer.position(partition) for partition in consumer.assignment()}
            confirmed = dict(self._confirmed)
            ends = await consumer.end_offsets([*positions, *confirmed])
            for partition, end in ends.items():
                if positions.get(partition, 0) > end:
                    await consumer.seek_to_beginning(partition)
                if positions.get(partition, 0) > end or confirmed.get(partition, -1) >= end:
                    log.warning("broker_lost_events", topic=partition.topic, partition=partition.partition)
                    found = True
        if found:
            self._confirmed.clear()
        return found
