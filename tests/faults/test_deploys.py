"""The deployer killed at every step of a deploy: one release serves all the while, and nothing is left over."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import pytest

from algodock_common.settings import SecretSettings
from tests.faults.conftest import LONG
from tests.outside.platform import Platform, eventually
from tests.outside.repository import ECHO, Repository

pytestmark = pytest.mark.timeout(600)
BEFORE_THE_SWITCH = (
    "fetch", "detect", "environment", "lease", "leased", "start", "started", "probe", "samples", "switch",
)  # fmt: skip
AFTER_THE_SWITCH = ("switched", "ended", "freed")
SHORT = ("fetch", "leased", "started", "switched", "ended")


@dataclass
class Service:
    """An echo with one sample, and everything on this machine that belongs to it."""

    platform: Platform
    repository: Repository
    refused: list[str] = field(default_factory=list)
    answered: int = 0

    @property
    def data(self) -> Path:
        return Path(self.platform.environment["ALGODOCK_DATA_DIR"]).resolve()

    def push(self) -> str:
        """Push a new version and return it; its commit is the working copy's."""
        version = uuid4().hex
        self.repository.commit({
            "main.py": ECHO.replace("VERSION", version),
            "requirements.txt": "starlette\nuvicorn\n",
            "samples/one.json": json.dumps({"input": {"n": 1}, "expected": {"version": version}}),
        })  # fmt: skip
        self.repository.push()
        return version

    def answers(self, version: str) -> bool:
        answer = self.platform.predict(self.repository.name, {})
        return answer.status_code == 200 and answer.json()["version"] == version

    @contextmanager
    def called(self) -> Iterator[None]:
        """Call it all the while; what is not answered with success is kept, and not tried again."""
        over = threading.Event()

        def call() -> None:
            with self.platform.api() as api:
                while not over.wait(0.01):
                    try:
                        answer = api.post(f"/ai/{self.repository.name}/predict", json={})
                    except httpx.TransportError as error:
                        self.refused.append(repr(error))
                        continue
                    self.answered += 1
                    if answer.status_code != 200:
                        self.refused.append(answer.text[:300])

        calling = threading.Thread(target=call)
        calling.start()
        try:
            yield
        finally:
            over.set()
            calling.join()

    def left(self) -> dict[str, int]:
        """Count what there should be one of: processes, programs, leases, folders in the making."""
        name = self.repository.name
        return {
            "processes": len(self._processes()),
            "programs": len(list((self.data / "algorithms" / "programs").glob(f"ai-{name}-*.ini"))),
            "leases": len(self._leases()),
            "unfinished folders": len(list((self.data / "services" / name).glob("releases/*/.*"))),
        }

    def _processes(self) -> list[int]:
        folder, found = str(self.data / "services" / self.repository.name), []
        for process in psutil.process_iter():
            try:
                if process.cwd().startswith(folder) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
            except psutil.Error:
                continue  # it ended in between
        return found

    def _leases(self) -> list[str]:
        ports = json.loads((self.data / "ports.json").read_text())["ports"]
        secret = json.loads((self.data / "secrets.json").read_text())["secret_key"]
        token = SecretSettings(secret_key=secret).service_token()
        answer = httpx.get(
            f"http://127.0.0.1:{ports['registry']}/internal/instances",
            params={"algorithm": self.repository.name},
            headers={"authorization": f"Bearer {token}"},
            trust_env=False,
        )
        return [one["instance_id"] for one in answer.json()["instances"] if one["state"] != "gone"]


ALONE = {"processes": 1, "programs": 1, "leases": 1, "unfinished folders": 0}


@pytest.fixture(scope="module")
def service(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Service:
    service = Service(platform, platform.repository(tmp_path_factory.mktemp("deploys"), "switched"))
    version = service.push()
    eventually(lambda: service.answers(version), 180)
    return service


@pytest.mark.parametrize("place", [*BEFORE_THE_SWITCH, *AFTER_THE_SWITCH] if LONG else SHORT)
def test_a_deployer_killed_at(service: Service, failpoints: Path, figures: Callable[..., None], place: str) -> None:
    service.refused.clear()
    armed = failpoints / f"deploy.{place}"
    before = service.answered
    with service.called():
        eventually(lambda: service.answered > before, 30)
        armed.touch()
        began = time.monotonic()
        version = service.push()
        eventually(lambda: not armed.exists(), 60)
        eventually(lambda: service.answers(version), 90)
        live_s = time.monotonic() - began
        eventually(lambda: service.left() == ALONE, 60)
        clean_s = time.monotonic() - began
    assert not service.refused, service.refused[:3]
    figures(live_s=round(live_s, 2), clean_s=round(clean_s, 2), answered=service.answered - before)
