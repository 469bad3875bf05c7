"""Algorithms that mean harm, or are merely bad, on a running platform: their neighbour serves on all the while."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

from algodock_common.events import ReleaseChanged
from algodock_common.messaging.signing import SIGNATURE_HEADER
from tests.faults.conftest import LONG, PROCESSES
from tests.outside.platform import Platform, eventually
from tests.outside.repository import Repository

pytestmark = pytest.mark.timeout(600)
MEMORY_MIB = 128

SERVER = """
import json, os, signal, socket, subprocess, sys, threading, time, urllib.error, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

held = []

def fork_bomb():
    if os.fork() == 0:
        while True:
            try:
                os.fork()
            except OSError:
                time.sleep(0.05)

def memory():
    while True:
        held.append(os.urandom(2**20) * 16)

def daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for key in list(os.environ):
                del os.environ[key]
            time.sleep(600)
        os._exit(0)
    return os.wait()[0]

def bind(port):
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError as error:
            return type(error).__name__ + ": " + error.strerror
        return "bound"

def beat(token):
    request = urllib.request.Request(os.environ["ALGODOCK_HEARTBEAT_URL"], b"{}", {
        "authorization": "Bearer " + token, "content-type": "application/json"})
    try:
        return urllib.request.urlopen(request, timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code

def flood(mib):
    line = "x" * 1023 + "\\n"
    for _ in range(mib * 1024):
        sys.stdout.write(line)
    print("the flood is over", flush=True)
    return "told"

def write():
    try:
        open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "main.py"), "a").write("# mine")
    except OSError as error:
        return type(error).__name__
    return "written"

def seen():
    return {"tmp": os.environ["TMPDIR"], "pid": os.getpid(), "uid": os.getuid()}

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({"status": "ok"})
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.answer({"answer": globals()[body["do"]](*body.get("with", []))})
    def answer(self, found):
        content = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
    def log_message(self, *_):
        pass

def hello():
    return "hello"

BEFORE
ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""


class Hostile:
    """One deployed algorithm and what a test asks it to do."""

    def __init__(self, platform: Platform, repository: Repository) -> None:
        self.platform, self.repository, self.name = platform, repository, repository.name

    def do(self, action: str, *arguments: object) -> Any:
        answer = self.platform.predict(self.name, {"do": action, "with": arguments})
        assert answer.status_code == 200, answer.text
        return answer.json()["answer"]

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.platform.call("GET", f"/api/v1/services/status/{self.name}").json()
        return found

    def stop(self) -> None:
        assert self.platform.call("POST", f"/api/v1/services/stop/{self.name}").status_code in {200, 202}
        eventually(lambda: self.status()["status"] == "stopped")

    def processes(self) -> list[psutil.Process]:
        """Return all processes that work in one of its folders: they may drop everything else that tells them."""
        home = Path(self.platform.environment["ALGODOCK_DATA_DIR"]) / "services" / self.name
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(home.resolve()):
                    found.append(process)
        return found


def deploy(platform: Platform, folder: Path, name: str, *, before: str = "", manifest: str = "") -> Hostile:
    repository = platform.repository(folder, name)
    release = release_of(platform, repository, before=before, manifest=manifest)
    assert release["state"] == "live", release["reason"]
    platform.answered(repository.name, {"do": "hello"})
    return Hostile(platform, repository)


def release_of(platform: Platform, repository: Repository, *, before: str = "", manifest: str = "") -> dict[str, Any]:
    """Push, and return the release when it has ended one way or the other."""
    files = {"main.py": SERVER.replace("BEFORE", before), "algodock.yaml": manifest or "timeout: 10\n"}
    commit = repository.commit(files)
    repository.push()

    def ended() -> dict[str, Any] | None:
        release = platform.release_of(repository.name, commit)
        return release if release is not None and release["state"] in {"live", "failed"} else None

    found = eventually(ended, 180)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def neighbour(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Hostile:
    return deploy(platform, tmp_path_factory.mktemp("neighbour"), "neighbour")


@pytest.fixture(scope="module")
def guest(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Hostile:
    """One that is asked for what does it no harm itself, so that each such test needs none of its own."""
    return deploy(platform, tmp_path_factory.mktemp("guest"), "guest")


@pytest.fixture(autouse=True, scope="module")
def tidied(platform: Platform) -> Iterator[None]:
    """Remove what these tests deployed: the next files' tests go on with this platform."""
    before = {one["name"] for one in platform.call("GET", "/api/v1/services").json()["services"]}
    yield
    for one in platform.call("GET", "/api/v1/services").json()["services"]:
        if one["name"] not in before:
            platform.call("DELETE", f"/api/v1/services/{one['name']}")


@contextmanager
def served(neighbour: Hostile) -> Iterator[None]:
    """Call the neighbour without a pause; fail when a call does."""
    over, failures, calls = threading.Event(), [], 0

    def call() -> None:
        nonlocal calls
        with neighbour.platform.api() as api:
            while not over.wait(0.02):
                answer = api.post(f"/ai/{neighbour.name}/predict", json={"do": "hello"})
                calls += 1
                if answer.status_code != 200:
                    failures.append(answer.text)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert calls
    assert not failures, failures[:3]


def test_a_fork_bomb_has_its_own_processes_and_no_more(platform: Platform, neighbour: Hostile, tmp_path: Path) -> None:
    bomb = deploy(platform, tmp_path, "bomb")
    with served(neighbour):
        bomb.do("fork_bomb")
        eventually(lambda: len(bomb.processes()) > PROCESSES // 2)
        most = 0
        end = time.monotonic() + 3  # for as long as it is looked at
        while time.monotonic() < end:
            most = max(most, len(bomb.processes()))
        assert most <= PROCESSES * 4, most
        bomb.stop()
        eventually(lambda: not bomb.processes())


def test_a_memory_hog_is_started_again_with_the_reason(platform: Platform, neighbour: Hostile, tmp_path: Path) -> None:
    hog = deploy(platform, tmp_path, "hog", manifest=f"resources: {{memory: {MEMORY_MIB}Mi}}\ntimeout: 10\n")
    before = hog.do("seen")["pid"]
    with served(neighbour):
        answer = platform.predict(hog.name, {"do": "memory"})
        assert answer.status_code in {502, 503, 504}, answer.text
        eventually(lambda: "memory" in hog.status()["message"])
    assert f"the limit of {MEMORY_MIB} MiB" in hog.status()["message"]

    def again() -> bool:
        answer = platform.predict(hog.name, {"do": "seen"})
        return answer.status_code == 200 and answer.json()["answer"]["pid"] != before

    assert eventually(again)


def test_a_log_flood_keeps_to_its_files(platform: Platform, neighbour: Hostile, tmp_path: Path) -> None:
    """A log and at most five older ones, of 10 MiB each; marks of when lines were written may lie beside them."""
    spout = deploy(platform, tmp_path, "spout", manifest="timeout: 300\n")
    folder = Path(platform.environment["ALGODOCK_DATA_DIR"]) / "services" / "logs" / "releases"

    def sizes() -> list[int]:
        found = []
        for path in folder.glob(f"ai-{spout.name}-*"):
            with suppress(FileNotFoundError):  # it has just been renamed
                found += [] if path.name.endswith(".times") else [path.stat().st_size]
        return sorted(found, reverse=True)

    def lines() -> str:
        return platform.call("GET", f"/api/v1/services/logs/{spout.name}", params={"lines": 5}).text

    with served(neighbour):
        assert spout.do("flood", 96 if LONG else 24) == "told"
        eventually(lines, accept=lambda told: "the flood is over" in told)
    eventually(sizes, accept=lambda found: len([one for one in found if one > 9 * 2**20]) >= 2)
    eventually(sizes, accept=lambda found: max(found) < 11 * 2**20)
    eventually(sizes, accept=lambda found: sum(found) < 6 * 11 * 2**20)


def test_a_program_that_ignores_sigterm_is_stopped(platform: Platform, neighbour: Hostile, tmp_path: Path) -> None:
    deaf = deploy(platform, tmp_path, "deaf", before="signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    pid = deaf.do("seen")["pid"]
    with served(neighbour):
        deaf.stop()
        eventually(lambda: not psutil.pid_exists(pid))


def test_a_daemon_goes_with_its_program(platform: Platform, neighbour: Hostile, tmp_path: Path) -> None:
    parent = deploy(platform, tmp_path, "parent")
    parent.do("daemon")
    eventually(parent.processes, accept=lambda found: len(found) == 2)
    with served(neighbour):
        parent.stop()
        eventually(lambda: not parent.processes())


def test_a_program_that_makes_itself_a_daemon_is_no_release_and_leaves_nothing(
    platform: Platform, neighbour: Hostile, tmp_path: Path
) -> None:
    repository = platform.repository(tmp_path, "runaway")
    before = "if os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)"
    with served(neighbour):
        release = release_of(platform, repository, before=before)
    assert release["state"] == "failed"
    assert "probe: the program exited" in release["reason"]
    eventually(lambda: not Hostile(platform, repository).processes())


def test_nobody_gets_anothers_port(platform: Platform, neighbour: Hostile, guest: Hostile) -> None:
    port = platform.service(neighbour.name)["port"]
    with served(neighbour):
        assert "OSError" in guest.do("bind", port)
        release = release_of(platform, guest.repository, before=f"os.environ['PORT'] = '{port}'")
    assert release["state"] == "failed"
    assert guest.do("hello") == "hello", "its release before serves on"


def test_only_an_instances_own_token_beats_for_it(neighbour: Hostile, guest: Hostile) -> None:
    for token in ("", "adi_" + "A" * 64, uuid4().hex):
        assert guest.do("beat", token) == 401
    assert neighbour.do("hello") == "hello"


def test_an_event_that_an_algorithm_made_up_changes_nothing(
    platform: Platform, neighbour: Hostile, tmp_path: Path
) -> None:
    """The broker listens on the loopback address that algorithms share: what it carries is signed."""
    before = platform.service(neighbour.name)
    release = platform.call("GET", f"/api/v1/services/releases/{neighbour.name}").json()["releases"][0]
    forged = ReleaseChanged(
        release_id=release["id"], algorithm_id=before["id"], algorithm=neighbour.name, state="kept",
        service_status="stopped", serving=False, commit=release["commit"],
    )  # fmt: skip
    asyncio.run(_publish(platform.kafka, forged))
    beside = deploy(platform, tmp_path, "beside")  # a true event behind it has been taken when this one is live
    assert beside.do("hello") == "hello"
    assert neighbour.do("hello") == "hello"
    assert platform.service(neighbour.name)["status"] == "running"


async def _publish(kafka: str, data: ReleaseChanged) -> None:
    from aiokafka import AIOKafkaProducer

    event = {
        "specversion": "1.0", "id": str(uuid4()), "source": "/deployer", "type": "release.events.v1",
        "subject": data.algorithm, "time": "2099-01-01T00:00:00Z", "sequence": 10**9,
        "data": data.model_dump(mode="json"),
    }  # fmt: skip
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    try:
        value, key = json.dumps(event).encode(), data.algorithm.encode()
        await producer.send_and_wait("release.events", value, key=key)
        await producer.send_and_wait("release.events", value, key=key, headers=[(SIGNATURE_HEADER, b"0" * 64)])
    finally:
        await producer.stop()


def test_ports_that_others_took_are_passed_over(platform: Platform, neighbour: Hostile, tmp_path: Path) -> None:
    """The ports behind the one leased last are those that the next leases would get."""
    first = deploy(platform, tmp_path, "first")
    last = platform.service(first.name)["port"]
    with ExitStack() as outside:
        taken = []
        for port in range(last + 1, last + 9):
            one = outside.enter_context(socket.socket())
            with suppress(OSError):
                one.bind(("127.0.0.1", port))
                one.listen()
                taken.append(port)
        assert taken
        second = deploy(platform, tmp_path, "second")
        assert platform.service(second.name)["port"] not in taken
        assert second.do("hello") == "hello"
        assert neighbour.do("hello") == "hello"


def test_code_can_be_read_only_and_every_instance_has_its_own_temporary_folder(
    platform: Platform, tmp_path: Path
) -> None:
    curious = deploy(platform, tmp_path, "curious")
    seen = curious.do("seen")
    folder = Path(seen["tmp"])
    assert folder.is_dir()
    assert curious.name in folder.name
    if seen["uid"] != 0:  # where strangers' code cannot run as another user, `/ready` says so
        assert curious.do("write") == "PermissionError"
    curious.stop()
    eventually(lambda: not folder.exists())
