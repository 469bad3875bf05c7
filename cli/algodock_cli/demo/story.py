"""The demo's seven steps: push, deploy, register, predict, task, result, callback, all for real."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import uuid4

from algodock_cli.client.deploying import Deployed, deploy
from algodock_cli.client.errors import GatewayAway, GatewayProblem, NotInTime, ReleaseFailed
from algodock_cli.client.gateway import Gateway
from algodock_cli.client.pushing import PushFailed
from algodock_cli.demo.callbacks import Callbacks
from algodock_cli.demo.tasks import Finished, by_kafka, by_rest
from algodock_cli.demo.telling import Teller
from algodock_cli.failures import CommandFailed

__all__ = ["Figures", "Story"]

CLASSIFIER = "text-classify"
INPUT = {"input_data": ["球队在决赛中进球", "The new phone has a faster chip"], "batch_id": "test_001"}
_DEPLOY_S = 180.0
_CALLBACK_S = 90.0
_PATIENCE_S = 120.0  # after which what fails is not begun again
_PAUSE_S = 1.0
_CALLS = 5
_SERVER_ERROR = 500

Result = TypeVar("Result")


@dataclass
class Figures:
    """What ``demo --json`` ends with; a figure that was not reached is None."""

    push_to_live_s: float | None = None
    predict_ms: float | None = None
    task_rest_ms: float | None = None
    task_kafka_ms: float | None = None
    callbacks: int = 0
    total_s: float = 0.0
    ok: bool = False


@dataclass
class Story:
    """One run of the demo against a platform that is up."""

    gateway: Gateway
    kafka: str
    callback_secret: str
    examples: Path
    keep: Path
    tell: Teller
    figures: Figures = field(default_factory=Figures)
    _live: str = ""
    _next_step: str = ""

    def push_and_follow(self) -> None:
        """Steps 2 and 3: a real push, and its release until it is live."""
        self.tell.step(f"git push of examples/{CLASSIFIER} to the built-in forge")
        self._next_step = "its release, from commit to live"
        deployed = self._deploy(self.examples / CLASSIFIER, CLASSIFIER, force=True)
        self._live = deployed.commit
        self.figures.push_to_live_s = round(deployed.seconds, 3)
        self.tell.say(f"live: {deployed.url}, {deployed.seconds:.2f} s after the push began")

    def predict(self) -> None:
        """Step 4: the synchronous call."""
        self.tell.step(f"POST /ai/{CLASSIFIER}/predict")
        answer = self._predict(CLASSIFIER, json=INPUT)
        for prediction in answer["predictions"]:
            self.tell.say(f"{prediction['text']} → {prediction['label']} ({prediction['confidence']:.2f})")
        times = []
        for _ in range(_CALLS):
            began = time.monotonic()
            self._predict(CLASSIFIER, json=INPUT)
            times.append((time.monotonic() - began) * 1000)
        self.figures.predict_ms = round(statistics.median(times), 2)
        self.tell.say(f"median of {_CALLS} calls: {self.figures.predict_ms} ms")

    def tasks(self) -> None:
        """Step 5: the same as tasks, with callbacks that are verified and results out of the object store."""
        self.tell.step("a task by REST and one by Kafka, each with a callback and an idempotency key")
        with Callbacks(self.callback_secret) as callbacks:
            for way in ("REST", "Kafka"):
                key = f"demo-{way.lower()}-{uuid4().hex}"
                body = {
                    "algorithm": CLASSIFIER,
                    "input": {**INPUT, "batch_id": f"demo-{way.lower()}"},
                    "callback_url": callbacks.url,
                    "idempotency_key": key,
                }
                finished = self._submit(way, body)
                told = callbacks.wait(key, _CALLBACK_S)
                if told["id"] != finished.task["id"] or told["state"] != "succeeded":
                    raise CommandFailed(f"the callback tells of {told['id']} {told['state']}, not of this task")
                self.tell.say("its callback came, and its signature is good")
            self.figures.callbacks = callbacks.count

    def broken_push(self) -> None:
        """Step 6: a commit that cannot run changes nothing, and says why."""
        self.tell.step("a broken commit: the old release goes on, the new one says why it failed")
        with tempfile.TemporaryDirectory(prefix="algodock-demo-") as folder:
            broken = Path(folder) / CLASSIFIER
            shutil.copytree(self.examples / CLASSIFIER, broken, ignore=shutil.ignore_patterns("build", "__pycache__"))
            with (broken / "ai_algorithm.py").open("a", encoding="utf-8") as source:
                source.write("\n\ndef broken(:\n    this is not Python\n")
            with _Caller(lambda: self._predict(CLASSIFIER, json=INPUT)) as caller:
                failed = self._expect_failure(broken)
        if caller.failure:
            raise caller.failure
        self.tell.say(
            f"failed in step {failed.release.get('step') or '?'}: {_first_lines(failed.release.get('reason'))}"
        )
        self._predict(CLASSIFIER, json=INPUT)
        services = self.gateway.get("/api/v1/services")["services"]
        serving = next(service for service in services if service["name"] == CLASSIFIER)
        if serving["commit"] != self._live:
            raise CommandFailed(f"commit {serving['commit'][:10]} serves, not {self._live[:10]}, which was live before")
        self.tell.say(f"{caller.calls} calls meanwhile, all answered; {self._live[:10]} is still {serving['status']}")

    def the_others(self) -> None:
        """Step 7: a picture in and out, and Node.js; then what runs where."""
        self.tell.step("examples/edge-detect and examples/echo-node, and what runs where")
        self._edges()
        self._node()
        services = self.gateway.get("/api/v1/services")["services"]
        self.tell.table(
            ("NAME", "STATUS", "WHERE", "COMMIT", "ADDRESS"),
            [
                (
                    service["name"],
                    service["status"],
                    f"{service.get('host') or '-'}:{service.get('port') or '-'}",
                    str(service.get("commit") or "-")[:10],
                    f"{self.gateway.access.url}/ai/{service['name']}/predict",
                )
                for service in services
            ],
        )

    def _edges(self) -> None:
        self._deploy(self.examples / "edge-detect", "edge-detect")
        picture = (self.examples / "edge-detect" / "samples" / "shapes.png").read_bytes()
        response = self._again(
            lambda: self.gateway.request(
                "POST", "/ai/edge-detect/predict", repeat=True, files={"image": ("shapes.png", picture, "image/png")}
            )
        )
        if response.headers["content-type"] != "image/png":
            raise CommandFailed(f"edge-detect answered {response.headers['content-type']}, not a picture")
        self.keep.mkdir(parents=True, exist_ok=True)
        (self.keep / "edges.png").write_bytes(response.content)
        self.tell.say(
            f"a picture of {len(picture)} bytes in, one of {len(response.content)} out: {self.keep / 'edges.png'}"
        )

    def _node(self) -> None:
        try:
            self._deploy(self.examples / "echo-node", "echo-node")
        except ReleaseFailed as failed:
            if shutil.which("node"):
                raise
            self.tell.say(
                f"no Node.js on this machine, so without echo-node\n{_first_lines(failed.release.get('reason'))}"
            )
            return
        answer = self._predict("echo-node", json={"input_data": ["hello"]})
        self.tell.say(f"echo-node answers on {answer['runtime']}")

    def _submit(self, way: str, body: dict[str, Any]) -> Finished:
        if way == "REST":
            finished = self._again(lambda: by_rest(self.gateway, body))
            self.figures.task_rest_ms = round(finished.milliseconds, 1)
        else:
            finished = self._again(lambda: by_kafka(self.gateway, self.kafka, body, self.tell.say))
            self.figures.task_kafka_ms = round(finished.milliseconds, 1)
        labels = [prediction["label"] for prediction in finished.result["predictions"]]
        self.tell.say(f"by {way}: {finished.task['id']} in {finished.milliseconds:.0f} ms → {labels}")
        self.tell.say(f"read from {finished.stored_at} by a presigned link")
        return finished

    def _expect_failure(self, folder: Path) -> ReleaseFailed:
        def push() -> ReleaseFailed:
            try:
                self._deploy_once(folder, CLASSIFIER, force=True)
            except ReleaseFailed as failed:
                if "SyntaxError" in str(failed.release.get("reason")):
                    return failed
                raise
            raise CommandFailed("a release that cannot run went live")

        return self._again(push)

    def _deploy(self, folder: Path, name: str, *, force: bool = False) -> Deployed:
        return self._again(lambda: self._deploy_once(folder, name, force=force))

    def _deploy_once(self, folder: Path, name: str, *, force: bool) -> Deployed:
        return deploy(self.gateway, folder, name=name, force=force, timeout_s=_DEPLOY_S, say=self._say)

    def _say(self, line: str) -> None:
        """Tell a line of a deployment; the first one after the push begins step 3."""
        if self._next_step and not line.startswith("pushes "):
            self.tell.step(self._next_step)
            self._next_step = ""
        self.tell.say(line)

    def _predict(self, name: str, **options: Any) -> Any:
        return self._again(lambda: self.gateway.request("POST", f"/ai/{name}/predict", repeat=True, **options).json())

    def _again(self, act: Callable[[], Result]) -> Result:
        """Return what ``act`` returns, however often one of the platform's processes is killed meanwhile.

        Everything the demo does may be done twice: tasks carry their idempotency key, a push of the
        same tree is another release of it, and the algorithms keep nothing.
        """
        end = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return act()
            except (GatewayAway, GatewayProblem, NotInTime, PushFailed, ReleaseFailed) as failure:
                final = isinstance(failure, GatewayProblem) and failure.status < _SERVER_ERROR
                if final or time.monotonic() > end:
                    raise
                self.tell.say(f"again, because: {failure}")
                time.sleep(_PAUSE_S)


class _Caller:
    """Calls and calls in a thread of its own, until its block ends."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.calls = 0
        self.failure: CommandFailed | None = None
        self._call = call
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="caller", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            try:
                self._call()
            except CommandFailed as failure:
                self.failure = failure
                return
            self.calls += 1


def _first_lines(text: object, count: int = 3) -> str:
    return "\n".join(str(text or "no reason was given").strip().splitlines()[:count])
