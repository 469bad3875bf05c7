"""Topics made from the flow table, with its partitions, and made again when a broker lost them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from algodock_common.events.dead_letter import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from algodock_common.events.flow import Step
    from algodock_common.settings import KafkaSettings

__all__ = ["LARGEST_LETTER", "LOOK_TIMEOUT_S", "TopicKeeper"]

log = structlog.get_logger()

TOPIC_ALREADY_EXISTS = 36
LOOK_TIMEOUT_S = 15.0
"""A client may wait for ever for a broker that came back as another one; a new look begins with a new client."""
LARGEST_LETTER = 2 * 1024 * 1024
"""A dead letter carries a whole message as text, so it is larger than the 1 MiB that brokers take by default."""
_CONFIGS = {DeadLetter.topic: {"max.message.bytes": str(LARGEST_LETTER)}}


class TopicKeeper:
    """Knows which topics there must be, and creates those that are missing."""

    cluster: str | None = None
    """The broker's cluster id when ``ensure`` last looked."""

    def __init__(self, settings: KafkaSettings, steps: Iterable[Step]) -> None:
        """Take the rows of the flow table whose topics are kept."""
        self._settings = settings
        self._steps = {step.topic: step for step in steps}
        self._admin: AIOKafkaAdminClient | None = None

    async def ensure(self) -> list[str]:
        """Create what is missing; return the topics that were made.

        Raises:
            aiokafka.errors.KafkaError, OSError: the broker cannot be reached, or does not answer in time.
        """
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                missing = await self._missing()
                if not missing:
                    return []
                answer = await (await self._connected()).create_topics(
                    [
                        NewTopic(
                            name,
                            self._steps[name].partitions,
                            self._settings.replication_factor,
                            topic_configs=_CONFIGS.get(name),
                        )
                        for name in missing
                    ]
                )
        except BaseException:
            await self.close()
            raise
        made = []
        for topic, code, *_ in answer.topic_errors:
            if code == 0:
                made.append(topic)
            elif code != TOPIC_ALREADY_EXISTS:  # somebody else was faster, which is as good
                log.warning("topic_not_created", topic=topic, kafka_error=code)
        if made:
            log.info("topics_created", topics=made)
        return made

    async def close(self) -> None:
        """Close the connection; the next ``ensure`` opens another."""
        admin, self._admin = self._admin, None
        if admin is not None:
            await admin.close()

    async def _missing(self) -> list[str]:
        admin = await self._connected()
        self.cluster = (await admin.describe_cluster()).get("cluster_id")
        return sorted(self._steps.keys() - set(await admin.list_topics()))

    async def _connected(self) -> AIOKafkaAdminClient:
        if self._admin is None:
            admin = AIOKafkaAdminClient(bootstrap_servers=self._settings.bootstrap, request_timeout_ms=10_000)
            try:
                await admin.start()
            except BaseException:
                await admin.close()
                raise
            self._admin = admin
        return self._admin
