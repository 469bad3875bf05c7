"""Push to answer: how long until the new code of a real ``git push`` is what answers."""

from __future__ import annotations

import json
import pathlib
import statistics
import subprocess
import time
import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from wire import Connection, request_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from stage import Platform

__all__ = ["Echo", "Push"]

_EXAMPLE = pathlib.Path(__file__).resolve().parent.parent / "examples" / "echo-python"
_GIT = ("git", "-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgsign=false")
_LOOK_EVERY_S = 0.01
_LONGEST_S = 240.0


@dataclass(frozen=True, slots=True)
class Push:
    """When a push began and when its code first answered, in seconds since the epoch."""

    began: float
    answered: float

    @property
    def took_s(self) -> float:
        """Return the seconds between."""
        return self.answered - self.began


class Echo:
    """The Python echo of the examples in a working copy of its own, pushed as often as wanted."""

    def __init__(self, platform: Platform, folder: pathlib.Path) -> None:
        """Make the algorithm and a working copy whose pushes go to the platform's forge."""
        self.name = f"bench-{uuid.uuid4().hex[:8]}"
        self._platform = platform
        self._folder = folder
        made = platform.call("POST", "/api/v1/algorithms", {"name": self.name}).json()
        scheme, rest = made["clone_url"].split("://", 1)
        self._git("init", "--quiet", "--initial-branch=main")
        self._git("remote", "add", "origin", f"{scheme}://git:{platform.api_key}@{rest}")
        (folder / "requirements.txt").write_text((_EXAMPLE / "requirements.txt").read_text())

    def push(self) -> float:
        """Push a new version; return the seconds from the push's start to its first answer, as ``pushed``."""
        return self.pushed().took_s

    def pushed(self) -> Push:
        """Push a new version; return when the push began and when its code first answered.

        Raises:
            RuntimeError: the version did not become live in four minutes.
        """
        version = uuid.uuid4().hex
        program = (_EXAMPLE / "main.py").read_text().replace('VERSION = "1"', f'VERSION = "{version}"')
        (self._folder / "main.py").write_text(program)
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", version)
        pushing: list[subprocess.Popen[str]] = []

        def begin() -> None:
            command = [*_GIT, "push", "--quiet", "origin", "main"]
            pushing.append(subprocess.Popen(command, cwd=self._folder, stderr=subprocess.PIPE, text=True))

        try:
            took_s = self._until_answered(begin, lambda answered: answered == version)
            answered = time.time()
            return Push(answered - took_s, answered)
        except RuntimeError:
            pushing[0].kill()
            raise
        finally:
            pushing[0].wait()

    def push_with(self, requirement: str) -> float:
        """Push a new version that wants one more requirement than all others; return the seconds, as ``push``."""
        path = self._folder / "requirements.txt"
        before = path.read_text()
        path.write_text(f"{before.rstrip()}\n{requirement}\n")
        try:
            return self.push()
        finally:
            path.write_text(before)

    def roll_back(self) -> float:
        """Roll back; return the seconds from the command to the first answer of the release before.

        Raises:
            RuntimeError: it was refused, or no other release answered in four minutes.
        """
        serving = self._version()

        def begin() -> None:
            answer = self._platform.call("POST", f"/api/v1/services/rollback/{self.name}", {})
            if answer.status != 202:  # noqa: PLR2004
                raise RuntimeError(f"the rollback was refused: {answer.status} {answer.body[:200]!r}")

        return self._until_answered(begin, lambda answered: answered != serving)

    def _version(self) -> str:
        version: str = self._platform.call("POST", self.path, {"a": 1}).json()["version"]
        return version

    def _until_answered(self, begin: Callable[[], None], wanted: Callable[[str], bool]) -> float:
        url = self._platform.url
        ask = request_bytes("POST", url, path=self.path, headers=self._platform.headers, body=b'{"a": 1}')
        with Connection(url) as connection:
            started = time.perf_counter()
            begin()
            while time.perf_counter() - started < _LONGEST_S:
                answer = connection.send(ask)
                if answer.status == 200 and wanted(answer.json()["version"]):  # noqa: PLR2004
                    return time.perf_counter() - started
                time.sleep(_LOOK_EVERY_S)
        raise RuntimeError(f"not live after {_LONGEST_S} s: {json.dumps(self._releases()[:1])}")

    def steps_ms(self, pushes: int) -> dict[str, float]:
        """Return the median milliseconds of each step of the last ``pushes`` releases."""
        times: dict[str, list[float]] = defaultdict(list)
        for release in self._releases()[:pushes]:
            for name, begun, ended in _steps(release):
                times[name].append((ended - begun) * 1000)
        return {name: round(statistics.median(took), 1) for name, took in times.items()}

    def parts_ms(self, pushes: list[Push]) -> dict[str, float]:
        """Return the median milliseconds of each part of the last pushes, which follow each other without a gap.

        ``push``: git, the bundle and the event, until there is a release; ``queue``: until its first step; then each
        step with what passes until the next one; ``route``: from the end of the last step until the gateway sends a
        call there.
        """
        parts: dict[str, list[float]] = defaultdict(list)
        for push, release in zip(reversed(pushes), self._releases()[: len(pushes)], strict=True):
            made, steps = _instant(release["created_at"]), _steps(release)
            parts["push"].append(made - push.began)
            parts["queue"].append(steps[0][1] - made)
            for (name, begun, _), (_, following, _) in pairwise(steps):
                parts[name].append(following - begun)
            name, begun, ended = steps[-1]
            parts[name].append(ended - begun)
            parts["route"].append(push.answered - ended)
        return {name: round(statistics.median(took) * 1000, 1) for name, took in parts.items()}

    @property
    def path(self) -> str:
        """Return the path of its predictions at the gateway."""
        return f"/ai/{self.name}/predict"

    def direct_url(self) -> str:
        """Return the address of the instance itself."""
        services = self._platform.call("GET", "/api/v1/services").json()["services"]
        service: dict[str, Any] = next(one for one in services if one["name"] == self.name)
        return f"http://{service['host']}:{service['port']}"

    def remove(self) -> None:
        """Take the service away again."""
        self._platform.call("DELETE", f"/api/v1/services/{self.name}")

    def _releases(self) -> list[dict[str, Any]]:
        answer = self._platform.call("GET", f"/api/v1/services/releases/{self.name}").json()
        releases: list[dict[str, Any]] = answer["releases"]
        return releases

    def _git(self, *arguments: str) -> None:
        subprocess.run([*_GIT, *arguments], cwd=self._folder, check=True, capture_output=True)


def _steps(release: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Return the steps of a release that have ended: name, begin and end in seconds since the epoch."""
    return [
        (step["name"], _instant(step["started_at"]), _instant(step["ended_at"]))
        for step in release["steps"]
        if step.get("ended_at")
    ]


def _instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
