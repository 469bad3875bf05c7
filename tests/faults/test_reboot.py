"""A machine that goes off and comes back: every process dies at once, and the command `up` is all there is."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.faults.conftest import WORKERS
from tests.outside.platform import Platform, algodock, eventually

PROGRAM = """
import http.server, json, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"name": os.environ["ALGODOCK_NAME"], "pid": os.getpid()}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_GET
    def log_message(self, *_): pass
http.server.HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""


def deploy(platform: Platform, folder: Path, name: str, manifest: str = "instances: 1\n") -> str:
    repository = platform.repository(folder, name)
    commit = repository.commit({"main.py": PROGRAM, "algodock.yaml": manifest})
    repository.push()
    platform.until_live(repository.name, commit)
    platform.answered(repository.name, {})
    return repository.name


def of_the_platform(platform: Platform) -> list[psutil.Process]:
    """Return every process that has to do with the platform's data folder: its servers, services and algorithms."""
    folder = platform.environment["ALGODOCK_DATA_DIR"]
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            told = [*process.cmdline(), process.cwd(), *process.environ().values()]
            if any(folder in one for one in told):
                found.append(process)
    return found


def power_off(platform: Platform) -> None:
    """Kill everything, again and again until nobody is left who could start something."""
    end = time.monotonic() + 120
    while (left := of_the_platform(platform)) and time.monotonic() < end:
        for process in left:
            with suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(left, timeout=1)
    assert not of_the_platform(platform)


@pytest.mark.timeout(1200)
def test_after_a_reboot_every_service_is_as_it_was_wanted(platform: Platform, tmp_path: Path) -> None:
    running = [deploy(platform, tmp_path, "runs") for _ in range(2)]
    double = deploy(platform, tmp_path, "double", "instances: 2\n")
    stopped = deploy(platform, tmp_path, "stopped")
    assert platform.call("POST", f"/api/v1/services/stop/{stopped}").status_code in {200, 202}
    eventually(lambda: platform.service(stopped)["status"] == "stopped")
    seen: set[int] = set()

    def both() -> set[int]:
        answer = platform.predict(double, {})
        seen.update({answer.json()["pid"]} if answer.status_code == 200 else ())
        return seen

    eventually(both, accept=lambda pids: len(pids) == 2)
    twins = set(seen)
    before = {name: platform.predict(name, {}).json()["pid"] for name in (*running, double)}

    power_off(platform)
    seen.clear()
    algodock(platform.environment, "up", "--json", "--workers", str(WORKERS))

    for name in (*running, double):

        def back(name: str = name) -> bool:
            answer = platform.predict(name, {})
            return answer.status_code == 200 and answer.json()["pid"] != before[name]

        assert eventually(back, 120)
        eventually(lambda name=name: platform.service(name)["status"] == "running")  # type: ignore[misc]  # bound at once
    eventually(both, accept=lambda pids: len(pids) == 2 and pids.isdisjoint(twins))
    assert platform.service(stopped)["status"] == "stopped"
    assert platform.predict(stopped, {}).status_code == 503

    def processes() -> dict[str, int]:
        found = dict.fromkeys((*running, double, stopped), 0)
        for process in of_the_platform(platform):
            with suppress(psutil.Error):
                name = process.environ().get("ALGODOCK_NAME", "")
                if name in found and process.cmdline()[-1].endswith("main.py"):
                    found[name] += 1
        return found

    once = {running[0]: 1, running[1]: 1, double: 2, stopped: 0}
    eventually(processes, accept=lambda found: found == once)
