"""Apache Kafka as one KRaft node: broker and controller in one process, on the loopback address."""

from __future__ import annotations

import base64
import os
import subprocess
import uuid
from pathlib import Path

from algodock_cli.stack.errors import StackError
from algodock_cli.stack.programs import Program, write_private
from algodock_cli.stack.servers import ServerContext
from algodock_cli.stack.servers.probes import kafka_answers

__all__ = ["ApacheKafka"]


class ApacheKafka:
    """One Apache Kafka node; its log lies in ``<folder>/log``."""

    name = "kafka"

    def __init__(self, context: ServerContext, java: Path, jars: Path, controller_port: int) -> None:
        """Declare it; nothing is started or written yet."""
        self._context = context
        self._java = java
        self._classes = f"{jars}/*"
        self._controller = f"127.0.0.1:{controller_port}"
        self._bootstrap = f"127.0.0.1:{context.port}"
        self._properties = context.folder / "server.properties"

    def prepare(self) -> None:
        """Write its properties and format its log folder at the first start.

        Raises:
            StackError: Kafka's storage tool failed; the message is its own.
        """
        log = self._context.folder / "log"
        lines = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{self._controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{self._bootstrap},CONTROLLER://{self._controller}",
            "advertised.listeners": f"PLAINTEXT://{self._bootstrap}",
            "log.dirs": str(log),
            # One node holds everything once:
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            # Tests join groups all the time, and need few partitions of Kafka's own topics:
            "group.initial.rebalance.delay.ms": "0",
            "offsets.topic.num.partitions": "5",
            "transaction.state.log.num.partitions": "5",
        }
        write_private(self._properties, "".join(f"{key}={value}\n" for key, value in lines.items()))
        if (log / "meta.properties").exists():
            return
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # One word with "=": an id in 64 begins with a dash, which the tool would take for an option.
        tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "--config", str(self._properties)]
        done = subprocess.run(
            [str(self._java), "-Xmx256m", "-cp", self._classes, *tool],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if done.returncode != 0:
            raise StackError(f"Kafka's storage could not be formatted: {done.stderr.strip() or done.stdout.strip()}")

    def program(self) -> Program:
        """Return the node's program."""
        options = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC")
        return Program(
            name=self.name,
            command=(str(self._java), *options, "-cp", self._classes, "kafka.Kafka", str(self._properties)),
            environment={"PATH": os.defpath, "TZ": "UTC"},
            directory=self._context.folder,
            stop_seconds=20,
        )

    def environment(self) -> dict[str, str]:
        """Return ``KAFKA_BOOTSTRAP``; the producer may be idempotent here."""
        return {"KAFKA_BOOTSTRAP": self._bootstrap, "KAFKA_IDEMPOTENT": "true"}

    def is_ready(self) -> bool:
        """Say whether it answers the protocol's first question."""
        return kafka_answers(self._bootstrap)
