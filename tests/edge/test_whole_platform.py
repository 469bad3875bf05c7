"""A platform with the edge in front: a pushed gRPC service is called, deployed anew under calls, and stopped."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import psutil
import pytest

from algodock_deployer.clients.fakes import _free_port
from algodock_sdk.grpc import channel
from tests.edge.conftest import nginx_binary
from tests.outside.platform import Platform, eventually, running_platform
from tests.outside.repository import Repository

pytestmark = pytest.mark.timeout(500)

EXAMPLE = Path(__file__).parents[2] / "examples" / "echo-grpc"
SAY = "/algodock.examples.Echo/Say"
WORDS = b"\x0a\x05hello"
"""``Words(text="hello")``."""
GRPC, HTTP = (f"127.0.0.1:{_free_port('127.0.0.1')}" for _ in range(2))


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("edge")
    with running_platform(folder, EDGE="nginx", EDGE_GRPC=GRPC, EDGE_HTTP=HTTP, NGINX_BINARY=nginx_binary()) as running:
        yield running
    left = [one for one in psutil.process_iter() if f"{folder}/" in " ".join(_command(one)) and "nginx" in one.name()]
    assert not left, "`down` ends the edge"


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def pushed(platform: Platform, repository: Repository, text: str) -> None:
    files = (path for path in EXAMPLE.rglob("*") if path.is_file() and "build" not in path.parts)
    tree = {path.relative_to(EXAMPLE).as_posix(): path.read_text(encoding="utf-8") for path in files}
    commit = repository.commit(tree | {"VERSION": text})
    repository.push()

    def look() -> bool:
        release = platform.release_of(repository.name, commit)
        assert release is None or release["state"] != "failed", release
        return release is not None and release["state"] == "live"

    eventually(look, 240)


def code(platform: Platform, name: str, *, key: str | None = None) -> str:
    try:
        with channel(GRPC, name, platform.api_key if key is None else key) as opened:
            opened.unary_unary(SAY)(WORDS, timeout=60)
    except grpc.RpcError as error:
        found: str = error.code().name
        return found
    return "OK"


def counted(platform: Platform, name: str, status: int) -> int:
    text = platform.call("GET", "/metrics").text
    found = re.search(rf'^algodock_grpc_calls_total{{algorithm="{name}",status="{status}"}} (\d+)', text, re.MULTILINE)
    return int(found[1]) if found else 0


def test_a_grpc_service_is_called_deployed_anew_and_stopped(platform: Platform, tmp_path: Path) -> None:
    echo = platform.repository(tmp_path, "echo-grpc")
    pushed(platform, echo, "one")
    eventually(lambda: code(platform, echo.name) == "OK")
    with channel(GRPC, echo.name, platform.api_key) as opened:
        assert opened.unary_unary(SAY)(WORDS, timeout=60) == WORDS
        assert (
            list(opened.stream_stream("/algodock.examples.Echo/SayEach")(iter([WORDS] * 3), timeout=60)) == [WORDS] * 3
        )
    assert counted(platform, echo.name, 200) >= 3, "each call is counted, and recorded with it"
    assert code(platform, echo.name, key="wrong") == "UNAUTHENTICATED"
    assert counted(platform, "", 401) >= 1
    assert platform.predict(echo.name, {}).json()["type"].endswith(":speaks-grpc")

    with calling(platform, echo.name) as (done, failed):
        eventually(lambda: len(done) > 5)
        pushed(platform, echo, "two")
        service = platform.service(echo.name)
        eventually(lambda: str(service["port"]) in (edge_folder(platform) / "nginx.conf").read_text())
        before = len(done)
        eventually(lambda: len(done) > before + 20)
    assert not failed, "no call fails while one release follows another"

    with httpx.Client(base_url=f"http://{HTTP}", trust_env=False, timeout=60) as client:
        assert client.get("/api/health").status_code == 200
        assert client.get(f"/{echo.name}/health").json()["instances"] == 1
        assert client.get("/internal/routes").status_code == 404

    assert platform.call("POST", f"/api/v1/services/stop/{echo.name}").status_code in {200, 202}
    eventually(lambda: code(platform, echo.name) == "UNAVAILABLE")
    assert code(platform, "nobody") == "UNIMPLEMENTED"


def edge_folder(platform: Platform) -> Path:
    return Path(platform.environment["ALGODOCK_DATA_DIR"]) / "algorithms" / "edge"


class calling:  # noqa: N801  # it reads as a verb where it is used
    """Calls without a pause in another thread for the block; gives the answers and the errors."""

    def __init__(self, platform: Platform, name: str) -> None:
        self._end = threading.Event()
        self._done: list[bytes] = []
        self._failed: list[str] = []
        self._thread = threading.Thread(target=self._call, args=(platform.api_key, name))

    def _call(self, key: str, name: str) -> None:
        with channel(GRPC, name, key) as opened:
            say = opened.unary_unary(SAY)
            while not self._end.is_set():
                try:
                    self._done.append(say(WORDS, timeout=60))
                except grpc.RpcError as error:
                    self._failed.append(f"{error.code()}: {error.details()}")
                time.sleep(0.01)

    def __enter__(self) -> tuple[list[bytes], list[str]]:
        self._thread.start()
        return self._done, self._failed

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
