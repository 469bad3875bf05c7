"""From a push to a program that serves, and every way in which that ends otherwise."""

from __future__ import annotations

import asyncio
import json
import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import pytest

from algodock_deployer import handlers
from algodock_deployer.clients.fakes import FakeRegistry
from algodock_deployer.domain.errors import ServiceNotFound
from algodock_deployer.domain.logs import Wanted

from .conftest import QUICK, Deployer, eventually

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Maker


async def test_a_pushed_program_serves_and_its_steps_are_written_down(deployer: Deployer) -> None:
    release = await deployer.live("first", deployer.program("one"))

    assert (await deployer.answer("first"))["version"] == "one"
    view = await deployer.service("first")
    assert (view.service.status, view.service.health) == ("running", "healthy")
    names = [step["name"] for step in release.steps]
    assert names == ["fetch", "detect", "environment", "lease", "start", "probe", "switch"]
    assert all(step["ended_at"] for step in release.steps)
    states = [event.state for event in await deployer.events("first")]
    assert states[:5] == ["queued", "building", "starting", "checking", "live"]


async def test_a_new_release_takes_over_and_the_old_one_goes_when_the_routers_let_go(deployer: Deployer) -> None:
    old = await deployer.live("over", deployer.program("one"))
    url = (await deployer.service("over")).instances[0].base_url
    await deployer.live("over", deployer.program("two"))

    assert (await deployer.answer("over"))["version"] == "two"
    assert (await handlers.find_release(deployer.context, old.id)).release.state == "draining"
    await deployer.drains()
    await deployer.release("over", old.commit, "kept")
    await deployer.gone(url)
    states = [(event.commit == old.commit, event.state) for event in await deployer.events("over")]
    assert states.index((False, "live")) < states.index((True, "draining")) < states.index((True, "kept"))


async def test_the_same_commit_twice_is_one_release(deployer: Deployer) -> None:
    release = await deployer.live("twice", deployer.program("one"))
    await deployer.push("twice", deployer.program("one"), commit=release.commit)
    found = await handlers.releases_of(deployer.context, "twice", commit=None, limit=9)
    assert [one.id for one in found] == [release.id]


async def test_a_branch_forced_back_is_released_anew(deployer: Deployer) -> None:
    first = await deployer.live("back", deployer.program("one"))
    await deployer.live("back", deployer.program("two"))
    await deployer.push("back", deployer.program("one"), commit=first.commit)
    again = await deployer.release("back", first.commit, "live")
    assert again.id != first.id
    assert (await deployer.answer("back"))["version"] == "one"


async def test_a_newer_commit_takes_the_place_of_one_that_waits_or_is_built(deployer: Deployer, tmp_path: Path) -> None:
    """What is built is ended with its whole process group, a child that hears no SIGTERM too."""
    pids = tmp_path / "pids"
    build = f"echo $$ >> {pids}; (trap '' TERM; exec sleep 300) & echo $! >> {pids}; wait"
    building = await deployer.push("queue", deployer.program("slow") | {"algodock.yaml": json.dumps({"build": build})})

    async def begun() -> bool:
        return pids.exists() and len(pids.read_text().split()) == 2

    await eventually(begun, 60, "the build to run")
    newest = await deployer.push("queue", deployer.program("newest"))
    await deployer.release("queue", newest, "live")
    superseded = await deployer.release("queue", building, "superseded")
    assert newest[:12] in superseded.reason
    assert not [pid for pid in map(int, pids.read_text().split()) if _runs(pid)]
    states = [one.state for one in await deployer.events("queue") if one.commit == building]
    assert states == ["queued", "building", "superseded"]


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE  # whose parent has not looked yet
    except psutil.NoSuchProcess:
        return False


async def test_of_commits_that_wait_only_the_last_is_built(deployer: Deployer) -> None:
    commits = [await deployer.push("burst", deployer.program(str(number))) for number in range(5)]
    found = await handlers.releases_of(deployer.context, "burst", commit=None, limit=9)
    waiting = [one.commit for one in found if one.state == "queued"]
    assert waiting in ([], commits[-1:]), "the others need no turn to be told that they have none"
    await deployer.release("burst", commits[-1], "live")
    for commit in commits[:-1]:
        assert (await deployer.release("burst", commit, "superseded")).live_at is None
    assert len(await deployer.processes.look_all()) == 1
    assert len(deployer.registry.leases) == 1


async def test_a_candidate_that_a_newer_commit_overtakes_leaves_nothing(deployer: Deployer) -> None:
    live = await deployer.live("overtaken", deployer.program("one"))
    starting = await deployer.push("overtaken", {"main.py": "import time; time.sleep(300)"})
    await deployer.release("overtaken", starting, "checking")
    newest = await deployer.push("overtaken", deployer.program("three"))
    await deployer.release("overtaken", newest, "live")
    assert (await deployer.release("overtaken", starting, "superseded")).reason.endswith("took its place")
    assert {lease.release_id for lease in deployer.registry.leases.values()} == {
        live.id, (await deployer.release("overtaken", newest, "live")).id
    }  # fmt: skip


async def test_a_stop_does_not_wait_for_a_build(deployer: Deployer) -> None:
    commit = await deployer.push("halted", deployer.program("one") | {"algodock.yaml": "build: sleep 300\n"})
    await deployer.release("halted", commit, "building")
    await deployer.command("halted", "stop")
    assert (await deployer.release("halted", commit, "superseded")).reason == "stop was asked for"
    await deployer.status("halted", "stopped")


async def test_a_crash_between_two_commits_builds_only_the_newer(make: Maker) -> None:
    registry = FakeRegistry()
    slow = Deployer.program("slow") | {"algodock.yaml": "build: sleep 300\n"}
    async with make(registry) as first:
        older = await first.push("between", slow)
        await first.release("between", older, "building")
        first.context.attempts.seal(first.ids["between"])  # as if the push came in where nobody could end the build
        newer = await first.push("between", first.program("newer"))
    async with make(registry) as second:
        second.ids, second.store.__dict__ = first.ids, first.store.__dict__
        await second.release("between", newer, "live")
        assert newer[:12] in (await second.release("between", older, "superseded")).reason


async def test_a_release_is_not_unpacked_onto_a_full_disk(make: Maker) -> None:
    async with make(tuning=replace(QUICK, min_free_bytes=2**60)) as deployer:
        commit = await deployer.push("full", deployer.program("one"))
        failed = await deployer.release("full", commit, "failed")
        assert re.match(r"fetch: only \d+ MiB are free below ", failed.reason), failed.reason


BAD_SOURCES = {
    "nothing-known": ({"README.md": "hello"}, r"detect: Nothing here says how to run it\. .*main\.py.*README"),
    "syntax": ({"main.py": "app = 1\nthis is not python ("}, r"detect: SyntaxError: .*, main\.py line 2"),
    "unresolvable": (
        {"main.py": "print(1)", "requirements.txt": "no-such-thing-algodock==9\n"},
        r"(?s)environment: uv pip compile failed.*no-such-thing-algodock",
    ),
    "exits": ({"main.py": "import no_such_module"}, r"probe: the program exited.*ModuleNotFoundError: No module named"),
    "exits-silently": ({"main.py": "raise SystemExit(3)"}, r"probe: the program exited.* wrote nothing"),
    "elsewhere": (
        {"main.py": "import socket, time\ns = socket.create_server(('127.0.0.1', 0))\ntime.sleep(60)\n"},
        r"probe: the program listens on 127\.0\.0\.1:\d+, not on 127\.0\.0\.1:\d+",
    ),
    "unknown-key": ({"algodock.yaml": "colour: red\n", "main.py": "app = 1"}, r"detect: .*colour: unknown key"),
    "zero-byte": (
        {"algodock.yaml": 'command: [python, main.py, "a\\0b"]\n', "main.py": "print(1)"},
        r"detect: command\.2: it holds a zero byte",
    ),
    "zero-byte-in-a-build": (
        {"algodock.yaml": "build: printf 'went\\0wrong' >&2; exit 7\n", "main.py": "print(1)"},
        "(?s)build-command: build failed .*went\ufffdwrong",
    ),
    "zero-byte-in-last-words": ({"main.py": "raise SystemExit('no\\0way')"}, "probe: the program exited.*no\ufffdway"),
    "docker": ({"Dockerfile": "FROM scratch\n"}, r"detect: .*needs the docker driver"),
    "openai": ({"algodock.yaml": "runtime: openai\n"}, r"detect: .*needs `openai:"),
    "build-fails": (
        {"algodock.yaml": "build: echo went wrong >&2; exit 7\n", "main.py": "print(1)"},
        r"(?s)build-command: build failed \(exit code 7\).*went wrong",
    ),
}


@pytest.mark.parametrize("name", BAD_SOURCES)
async def test_a_release_that_cannot_be_says_where_and_why(deployer: Deployer, name: str) -> None:
    files, reason = BAD_SOURCES[name]
    commit = await deployer.push(name, files)
    release = await deployer.release(name, commit, "failed", "live")

    assert release.state == "failed"
    assert re.search(reason, release.reason), release.reason
    view = await deployer.service(name)
    assert view.service.status == "failed"
    assert not deployer.registry.leases, "its lease is free again"
    await deployer.processes.ensure()  # the reconciler may still be starting it
    assert not await deployer.processes.look_all(), "no program of it is left"


async def test_a_push_without_a_bundle_fails_with_what_was_found(deployer: Deployer) -> None:
    commit = await deployer.push("hostile", problem="'evil' is a symbolic link")
    release = await deployer.release("hostile", commit, "failed")
    assert release.reason == "fetch: 'evil' is a symbolic link"


async def test_a_program_that_never_gets_healthy_fails_at_the_deadline(make: Maker) -> None:
    async with make() as deployer:
        deployer.context = replace(deployer.context)
        sick = {"main.py": deployer.program("x")["main.py"].replace("send_response(200)", "send_response(503)")}
        object.__setattr__(deployer.context.tuning, "start_timeout_s", 2)
        commit = await deployer.push("sick", sick)
        release = await deployer.release("sick", commit, "failed")
        assert "not healthy within 2 s" in release.reason
        assert "503" in release.reason


async def test_another_program_that_answers_on_the_port_is_not_taken_for_the_release(deployer: Deployer) -> None:
    def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as stranger:
        port = stranger.sockets[0].getsockname()[1]
        late = deployer.program("one", before="import time\ntime.sleep(1)\n")
        commit = await deployer.push("taken", late | {"algodock.yaml": f"port: {port}\n"})
        release = await deployer.release("taken", commit, "failed", "live")
    assert release.state == "failed"
    assert "Address already in use" in release.reason


async def test_a_failed_release_leaves_the_old_one_serving(deployer: Deployer) -> None:
    await deployer.live("keeps", deployer.program("one"))
    commit = await deployer.push("keeps", {"main.py": "this is not python ("})
    await deployer.release("keeps", commit, "failed")
    assert (await deployer.answer("keeps"))["version"] == "one"
    assert (await deployer.service("keeps")).service.status == "running"


async def test_the_programs_environment_holds_what_was_declared_and_no_secret(
    deployer: Deployer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "platform-secret")
    dump = "import os, json\nprint(json.dumps(dict(os.environ)), flush=True)\n"
    files = deployer.program("one", before=dump) | {"algodock.yaml": "env: {MODEL_SIZE: small, N: 3}\n"}
    await deployer.live("clean", files)
    _, found = await handlers.find_lines(deployer.context, "clean", Wanted(50, "stdout"))
    lines = [line.text for line in found.lines]
    seen = json.loads(next(line for line in lines if line.startswith("{")))
    assert seen["MODEL_SIZE"] == "small"
    assert seen["N"] == "3"
    assert seen["PORT"] == seen["SERVICE_PORT"] == str((await deployer.service("clean")).instances[0].port)
    allowed = {
        "HOST", "PORT", "SERVICE_HOST", "SERVICE_PORT", "ALGODOCK_TOKEN", "ALGODOCK_HEARTBEAT_URL", "ALGODOCK_NAME",
        "ALGODOCK_RELEASE", "PATH", "HOME", "TMPDIR", "LANG", "PYTHONUNBUFFERED", "PYTHONPATH", "MODEL_SIZE", "N",
        "LC_CTYPE",
    }  # fmt: skip
    assert set(seen) <= allowed


async def test_the_layout_on_disk_is_the_one_that_scripts_know(deployer: Deployer, root: Path) -> None:
    imports = "import common, ports\nfrom config.ports import PORTS\nprint('from', common.SERVICE_ROOT, flush=True)\n"
    release = await deployer.live("layout", deployer.program("one", before=imports))
    services = root / "services"
    port = (await deployer.service("layout")).instances[0].port

    assert (services / "layout" / "current").resolve() == (services / "layout" / "releases" / str(release.id)).resolve()
    assert "exec" in (services / "layout" / "start.sh").read_text()
    assert (services / "layout" / "venv" / "bin" / "python").exists()
    assert "serving one" in (services / "logs" / "layout.log").read_text()
    assert (services / "logs" / "layout_error.log").exists()
    assert (services / "logs" / "supervisord.log").exists()
    assert f"'layout': {port}" in (services / "config" / "ports.py").read_text()
    section = next((root / "algorithms" / "programs").glob("ai-layout-1-*.ini")).read_text()
    assert str((services / "layout" / "start.sh").resolve()) in section, "start.sh is what supervisord runs"
    for line in ("autostart=true", "autorestart=true", "startretries=3", "stopwaitsecs=10", "stopasgroup=true",
                 "killasgroup=true", "stdout_logfile_maxbytes=10MB", "stdout_logfile_backups=5"):  # fmt: skip
        assert line in section


async def test_a_build_command_adds_to_the_release_and_its_output_is_kept(deployer: Deployer) -> None:
    files = deployer.program("one", before="print(open('build/model.txt').read(), flush=True)\n")
    files["algodock.yaml"] = "build: mkdir -p build && echo trained > build/model.txt && echo training output\n"
    release = await deployer.live("trained", files)
    assert b"training output" in await handlers.build_log(deployer.context, release.id)
    _, found = await handlers.find_lines(deployer.context, "trained", Wanted(5, "stdout"))
    lines = [line.text for line in found.lines]
    assert "trained" in lines


async def test_schema_and_samples_are_stored_after_live(deployer: Deployer) -> None:
    sample = json.dumps({"input": {"a": 1}, "title": "one"})
    files = deployer.program("one") | {"samples/one.json": sample, "samples/x.png": "png", "samples/bad.json": "{"}
    release = await deployer.live("sampled", files)
    await deployer.context.background.join(("documents", release.id))
    release = (await handlers.find_release(deployer.context, release.id)).release
    assert release.schema_key
    assert release.samples_key
    assert b"version" in await deployer.store.get(release.schema_key)
    listed = json.loads(await deployer.store.get(release.samples_key))
    assert listed["samples"] == [{"title": "one", "input": {"a": 1}}]
    assert await deployer.store.get(listed["files"]["x.png"]) == b"png"
    last = (await deployer.events("sampled"))[-1]
    assert (last.state, last.schema_key, len(last.instances)) == ("live", release.schema_key, 1)


async def test_several_instances_have_a_port_each(deployer: Deployer) -> None:
    await deployer.live("many", deployer.program("one") | {"algodock.yaml": "instances: 2\n"})
    instances = (await deployer.service("many")).instances
    assert len({one.port for one in instances}) == 2
    assert [one.index for one in instances] == [1, 2]


async def test_an_unknown_service_is_said_to_be_unknown(deployer: Deployer) -> None:
    with pytest.raises(ServiceNotFound):
        await deployer.service(f"none-{os.urandom(3).hex()}")
