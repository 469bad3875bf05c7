"""Push to answer: how long until the new code of a real ``git push`` is what answers."""

from __future__ import annotations

import json
import pathlib
import statistics
import subprocess
import time
import uuid
from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from wire import Connection, request_bytes

if TYPE_CHECKING:
    from stage import Platform

__all__ = ["Echo"]

_EXAMPLE = pathlib.Path(__file__).resolve().parent.parent / "examples" / "echo-python"
_GIT = ("git", "-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgsign=false")
_LOOK_EVERY_S = 0.01
_LONGEST_S = 240.0


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
        """Push a new version; return the seconds from the push's start to the first answer of its code.

        Raises:
            RuntimeError: the version did not become live in four minutes.
        """
        version = uuid.uuid4().hex
        program = (_EXAMPLE / "main.py").read_text().replace('VERSION = "1"', f'VERSION = "{version}"')
        (self._folder / "main.py").write_text(program)
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", version)
        url = self._platform.url
        ask = request_bytes("POST", url, path=self.path, headers=self._platform.headers, body=b'{"a": 1}')
        with Connection(url) as connection:
            started = time.perf_counter()
            pushing = subprocess.Popen(
                [*_GIT, "push", "--quiet", "origin", "main"], cwd=self._folder, stderr=subprocess.PIPE, text=True
            )
            while time.perf_counter() - started < _LONGEST_S:
                answer = connection.send(ask)
                if answer.status == 200 and answer.json()["version"] == version:  # noqa: PLR2004
                    took = time.perf_counter() - started
                    pushing.wait()
                    return took
                time.sleep(_LOOK_EVERY_S)
            pushing.kill()
        raise RuntimeError(f"not live after {_LONGEST_S} s: {json.dumps(self._releases()[:1])}")

    def steps_ms(self, pushes: int) -> dict[str, float]:
        """Return the median milliseconds of each step of the last ``pushes`` releases."""
        times: dict[str, list[float]] = defaultdict(list)
        for release in self._releases()[:pushes]:
            for step in release["steps"]:
                if step.get("ended_at"):
                    begun, ended = (datetime.fromisoformat(step[key]) for key in ("started_at", "ended_at"))
                    times[step["name"]].append((ended - begun).total_seconds() * 1000)
        return {name: round(statistics.median(took), 1) for name, took in times.items()}

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
