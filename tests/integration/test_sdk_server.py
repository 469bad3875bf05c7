"""The SDK's server as the deployer starts it: a process of its own, told everything by its environment."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
Start = Callable[..., tuple[subprocess.Popen[str], httpx.Client]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def go(source: str, **env: str) -> tuple[subprocess.Popen[str], httpx.Client]:
        (tmp_path / "ai_algorithm.py").write_text(source)
        port = free_port()
        process = subprocess.Popen(
            [sys.executable, "-m", "algodock_sdk"],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOST": "127.0.0.1", "PORT": str(port), "ALGODOCK_NAME": "mine", **env},
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)

    yield go
    for process in running:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def healthy(process: subprocess.Popen[str], http: httpx.Client) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        try:
            if http.get("/health").status_code == 200:
                return
        except httpx.ConnectError:
            time.sleep(0.02)
    pytest.fail("not healthy")


def test_it_serves_and_ends_its_calls_when_it_is_stopped(start: Start) -> None:
    process, http = start(
        "import time\n"
        "def predict(seconds: float = 0):\n"
        "    open('started', 'w').close()\n"
        "    time.sleep(seconds)\n"
        "    return {'slept': seconds}\n"
    )
    healthy(process, http)
    assert http.get("/info").json()["name"] == "mine"
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import httpx; print(httpx.post('{http.base_url}/predict', json={{'seconds': 1}}).text)",
        ],
        stdout=subprocess.PIPE,
        text=True,
    ) as caller:
        while http.get("/health").json()["in_flight"] == 0:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert caller.stdout is not None
        assert json.loads(caller.stdout.read()) == {"slept": 1.0}
    process.wait(10)


def test_what_it_says_arrives_while_it_works(start: Start, tmp_path: Path) -> None:
    process, http = start(
        "import logging, pathlib, time\n"
        "from algodock_sdk import progress\n"
        "def predict():\n"
        "    progress(0.5, 'half')\n"
        "    logging.getLogger('mine').info('waiting')\n"
        "    while not pathlib.Path('go').exists(): time.sleep(0.01)\n"
        "    return {'a': 1}\n"
    )
    healthy(process, http)
    seen = []
    with http.stream("POST", "/predict", headers={"accept": "text/event-stream"}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        for line in response.iter_lines():
            seen += [line] if line.startswith("event") else []
            if line == "event: log":
                (tmp_path / "go").touch()
    assert seen == ["event: progress", "event: log", "event: done"]
    assert http.post("/predict").json() == {"a": 1}


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def predict(:\n", "SyntaxError"),
        ("import no_such_module\ndef predict(): ...", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("x = 1\n", "AlgorithmError: ai_algorithm.py has neither"),
    ],
)
def test_a_file_that_cannot_be_served_ends_it_with_the_reason_last(start: Start, source: str, why: str) -> None:
    process, _ = start(source)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 1
    assert why in stderr.splitlines()[-1]


def test_a_load_that_fails_ends_it_with_the_reason(start: Start) -> None:
    process, _ = start(
        "class Algorithm:\n    def load(self): raise OSError('no model')\n    def predict(self): return 1\n"
    )
    _, stderr = process.communicate(timeout=20)
    assert process.returncode != 0
    assert "OSError: no model" in stderr


def test_everything_from_debug_on_goes_to_the_debug_log(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "mine_debug.log"
    process, http = start(
        "import logging\ndef predict():\n    logging.getLogger('mine').debug('deep down')\n",
        ALGODOCK_DEBUG_LOG=str(log),
    )
    healthy(process, http)
    assert http.post("/predict").json() is None
    assert "deep down" in log.read_text()


def test_starting_costs_less_than_a_second_of_processor_time(start: Start) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process, http = start("def predict(a: int = 1) -> int:\n    return a\n")
    healthy(process, http)
    process.send_signal(signal.SIGTERM)
    process.wait(10)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


def test_the_text_classifier_is_trained_by_its_build_and_knows_what_it_learned(tmp_path: Path, start: Start) -> None:
    source = EXAMPLES / "text-classify"
    for part in ("train.py", "features.py", "data/sentences.tsv"):
        target = tmp_path / part
        target.parent.mkdir(exist_ok=True)
        target.write_bytes((source / part).read_bytes())
    subprocess.run([sys.executable, "train.py"], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    process, http = start((source / "ai_algorithm.py").read_text())
    healthy(process, http)
    body = {"input_data": ["球队赢得了比赛", "Fry the fish with garlic"], "batch_id": "test_001"}
    answer = http.post("/predict", json=body).json()
    assert answer["batch_id"] == "test_001"
    assert [prediction["label"] for prediction in answer["predictions"]] == ["sports", "food"]
    assert http.post("/predict", json={"input_data": []}).status_code == 422


def test_a_classifier_that_learned_nothing_fails_its_build(tmp_path: Path) -> None:
    for part in ("train.py", "features.py"):
        (tmp_path / part).write_bytes((EXAMPLES / "text-classify" / part).read_bytes())
    (tmp_path / "data").mkdir()
    lines = [f"{label}\tthe same words" for label in ("a", "b", "c", "d") for _ in range(10)]
    (tmp_path / "data" / "sentences.tsv").write_text("\n".join(lines))
    run = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "below" in run.stderr
