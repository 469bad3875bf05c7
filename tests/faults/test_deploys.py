"""Who is killed at every step of a deploy, or away during its switch: one release serves, and nothing is left over."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import pytest

from algodock_common.settings import SecretSettings
from tests.faults.conftest import LONG
from tests.outside.calls import called
from tests.outside.platform import Platform, eventually
from tests.outside.repository import ECHO, Repository
from tests.outside.servers import Servers

pytestmark = pytest.mark.timeout(900)
BEFORE_THE_SWITCH = (
    "fetch", "detect", "environment", "lease", "leased", "start", "started", "probe", "samples", "switch",
)  # fmt: skip
AFTER_THE_SWITCH = ("switched", "ended", "freed")
EVERYWHERE = (*BEFORE_THE_SWITCH, *AFTER_THE_SWITCH)
KILLED = {
    "deployer": EVERYWHERE,
    "registry": EVERYWHERE,
    "supervisord": EVERYWHERE,
    "kafka": ("switch", "switched"),
    "redis": ("switch", "switched"),
}
SHORT = (("deployer", "leased"), ("deployer", "switched"), ("registry", "lease"), ("supervisord", "started"))


@dataclass
class Service:
    """An echo with one sample, and everything on this machine that belongs to it."""

    platform: Platform
    repository: Repository
    serving: str = ""
    commit: str = ""

    @property
    def data(self) -> Path:
        return Path(self.platform.environment["ALGODOCK_DATA_DIR"]).resolve()

    def push(self) -> str:
        """Push a new version and return it; its commit is the working copy's."""
        version = uuid4().hex
        self.commit = self.repository.commit({
            "main.py": ECHO.replace("VERSION", version),
            "requirements.txt": "starlette\nuvicorn\n",
            "samples/one.json": json.dumps({"input": {"n": 1}, "expected": {"version": version}}),
        })  # fmt: skip
        self.repository.push()
        return version

    def serves(self, version: str) -> None:
        """Wait until it answers with this version."""
        self.platform.serves(self.repository.name, version)
        self.serving = version

    def ended(self) -> str:
        """Wait until what was pushed last is live, or has failed with a reason, and return which."""

        def look() -> str:
            release = self.platform.release_of(self.repository.name, self.commit) or {"state": "", "reason": ""}
            assert release["state"] != "failed" or release["reason"]
            return str(release["state"])

        return eventually(look, 180, accept=lambda state: state in {"live", "failed"})

    def supervisord(self) -> int:
        """Return the process of the algorithms' supervisord, 0 while there is none."""
        try:
            return int((self.data / "algorithms" / "supervisord.pid").read_text())
        except (FileNotFoundError, ValueError):
            return 0

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
    service.serves(service.push())
    return service


def _pid(platform: Platform, servers: Servers, service: Service, victim: str) -> int | None:
    """Return whom the failpoint is to kill; None: the deployer, which reaches it."""
    if victim == "supervisord":
        return service.supervisord()
    if victim in {"kafka", "redis"}:
        return servers.pid(victim)
    return None if victim == "deployer" else platform.pid(victim)


@pytest.mark.parametrize(
    ("victim", "place"), [(one, place) for one, places in KILLED.items() for place in places] if LONG else SHORT
)
def test_a_deploy_during_which_dies(
    platform: Platform,
    servers: Servers,
    service: Service,
    failpoints: Path,
    figures: Callable[..., None],
    victim: str,
    place: str,
) -> None:
    armed = failpoints / f"deploy.{place}"
    pid = _pid(platform, servers, service, victim)
    with called(platform, service.repository.name) as calls:
        armed.write_text(str(pid or ""))
        began = time.monotonic()
        version = service.push()
        eventually(lambda: not armed.exists())
        if victim == "supervisord" and service.ended() == "failed":  # the new one died with it before it was proven
            version = service.serving
        if victim == "supervisord":  # what it ran goes down with it, if only when the next one comes
            eventually(lambda: service.supervisord() not in {0, pid})
        service.serves(version)
        live_s = time.monotonic() - began
        eventually(service.left, accept=lambda left: left == ALONE)
        clean_s = time.monotonic() - began
    if victim != "supervisord":  # its programs die with it, so calls fail for the moment until it is there again
        assert not calls.refused, calls.refused[:3]
    figures(
        live_s=round(live_s, 2), clean_s=round(clean_s, 2), answered=calls.answered, refused=len(calls.refused),
        dark_s=round(calls.dark_s, 2),
    )  # fmt: skip


@pytest.mark.skipif(not LONG, reason="the long form; the short one is in tests/unit/deployer/test_draining.py")
def test_a_deploy_while_redis_is_away(
    platform: Platform, servers: Servers, service: Service, figures: Callable[..., None]
) -> None:
    """Nobody can say what is open in the old release: it lives on until nothing can be, or until Redis is back."""
    with called(platform, service.repository.name) as calls:
        with servers.stopped("redis"):
            version = service.push()
            service.serves(version)
            time.sleep(7)  # the length of the fault: it is over five seconds that a release was ended once
            assert service.left()["processes"] == 2, "the old one was ended in the dark"
        began = time.monotonic()
        eventually(service.left, accept=lambda left: left == ALONE)
        clean_s = time.monotonic() - began
    assert not calls.refused, calls.refused[:3]
    platform.until_ready()
    figures(clean_s=round(clean_s, 2), answered=calls.answered)
