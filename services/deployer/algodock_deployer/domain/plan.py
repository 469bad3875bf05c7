"""A release's plan: what detection found, kept with the release, so that any later start does the same."""

from __future__ import annotations

import re
import shlex
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from algodock_common.events import Limits
from algodock_deployer.domain.manifest import Manifest

__all__ = ["Interpreters", "Plan", "limits_of"]

_SHELL = re.compile(r"[|&;<>()$`\\\"'*?\[#~=%!{}\n]")
KEEP_ALIVE_S = 75
GRACEFUL_S = 8


class Interpreters(BaseModel):
    """The programs of the release's environment, as absolute paths; ``node`` only where it is needed."""

    model_config = ConfigDict(frozen=True)

    python: str = ""
    node: str = ""


class Plan(BaseModel):
    """How a release is installed and started.

    ``target`` is ``module:attribute`` for ``asgi``, a file for ``script`` and ``sdk``, and the start
    script for ``node``; ``command`` is the manifest's own argv.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["asgi", "script", "sdk", "chat", "node", "command", "container"]
    runtime: Literal["python", "node", "docker"]
    target: str = ""
    command: list[str] = Field(default_factory=list)
    requirements: list[str] = Field(default_factory=list, description="with what AlgoDock adds to run it")
    uses_sdk: bool = False
    node_dependencies: bool = False
    manifest: Manifest = Field(default_factory=Manifest)

    @property
    def sends_heartbeats(self) -> bool:
        """Return whether its instances report by themselves (the SDK does)."""
        return self.kind in {"sdk", "chat"}

    @property
    def recreates(self) -> bool:
        """Return whether the old instances must go before the new ones can come."""
        return self.manifest.strategy == "recreate" or self.manifest.port is not None

    def instances(self, wanted: int | None) -> int:
        """Return how many run: as many as were asked for, else as the manifest says; on a pinned port one."""
        return 1 if self.manifest.port is not None else wanted or self.manifest.instances

    def argv(self, programs: Interpreters, host: str, port: int) -> list[str]:
        """Return the command of one instance."""
        if self.kind == "asgi":
            return [
                programs.python, "-m", "uvicorn", self.target, "--host", host, "--port", str(port), "--no-access-log",
                "--timeout-keep-alive", str(KEEP_ALIVE_S), "--timeout-graceful-shutdown", str(GRACEFUL_S),
            ]  # fmt: skip
        if self.kind in {"sdk", "chat"}:
            served = ["algodock_sdk", self.target] if self.kind == "sdk" else ["algodock_sdk.chat"]
            return [programs.python, "-m", *served]
        if self.kind == "script":
            return [programs.node if self.runtime == "node" else programs.python, self.target]
        if self.kind in {"command", "container"}:  # a container without one runs what its image says
            return [*(self._program(word, programs) for word in self.command[:1]), *self.command[1:]]
        if _SHELL.search(self.target):
            return ["/bin/sh", "-c", self.target]
        words = shlex.split(self.target)
        return [self._program(words[0], programs), *words[1:]]

    @staticmethod
    def _program(name: str, programs: Interpreters) -> str:
        if name in {"python", "python3"} and programs.python:
            return programs.python
        return programs.node if name == "node" and programs.node else name


def limits_of(plan: dict[str, Any] | None) -> Limits:
    """Return what routers hold a release to, from its plan as it is kept."""
    return Plan.model_validate(plan).manifest.limits() if plan else Limits()
