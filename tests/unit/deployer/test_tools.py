"""Build tools: what they see, how they end, what they say."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from algodock_common.scheduling import BUILD_NICE
from algodock_deployer.clients.carriers import BUILD
from algodock_deployer.clients.sandbox import Sandbox
from algodock_deployer.clients.tools import BuildLog, Tool, build_environment, end_builds, run_tool
from algodock_deployer.domain.errors import StepFailed


def tool(folder: Path, code: str, timeout_s: float = 10) -> Tool:
    return Tool("step", [sys.executable, "-c", code], {"A": "1"}, folder, timeout_s)


def test_a_build_reaches_its_registry_and_sees_no_secret(tmp_path: Path) -> None:
    (tmp_path / ".config/uv").mkdir(parents=True)
    (tmp_path / ".config/uv/uv.toml").touch()
    (tmp_path / ".npmrc").touch()
    source = {
        "HOME": str(tmp_path), "SECRET_KEY": "s", "DATABASE_URL": "s", "AWS_SECRET_ACCESS_KEY": "s", "PATH": "/odd",
        "UV_INDEX_URL": "https://index", "SSL_CERT_FILE": "/ca", "HTTPS_PROXY": "http://proxy", "PIP_INDEX_URL": "i",
        "NPM_CONFIG_REGISTRY": "r", "UV_PROJECT_ENVIRONMENT": "/platform", "PYTHONPATH": "/platform",
    }  # fmt: skip
    found = build_environment(source, home=tmp_path / "h", cache=tmp_path / "c")
    assert set(found) == {
        "UV_INDEX_URL", "SSL_CERT_FILE", "HTTPS_PROXY", "PIP_INDEX_URL", "NPM_CONFIG_REGISTRY", "UV_CONFIG_FILE",
        "NPM_CONFIG_USERCONFIG", "PATH", "HOME", "XDG_CACHE_HOME", "UV_CACHE_DIR", "NPM_CONFIG_CACHE", "UV_NO_PROGRESS",
        "NO_COLOR",
    }  # fmt: skip
    assert found["HOME"] == str(tmp_path / "h")


async def test_output_is_in_the_log_while_the_tool_runs_and_is_returned(tmp_path: Path) -> None:
    log = BuildLog(tmp_path / "b.log")
    log.say("before")
    code = (
        "import os, pathlib, time\n"
        "print('early', os.environ.get('A'), flush=True)\n"
        "while not pathlib.Path('go').exists(): time.sleep(0.01)\n"
        "print('late')"
    )
    running = asyncio.create_task(run_tool(tool(tmp_path, code, 120), log))
    async with asyncio.timeout(120):
        while "early 1" not in log.path.read_text():  # noqa: ASYNC110  # a file tells nobody
            await asyncio.sleep(0.02)
    assert "late" not in log.path.read_text()
    (tmp_path / "go").touch()
    assert (await running).split() == ["early", "1", "late"]


async def test_a_tool_and_what_it_starts_yield_to_others(tmp_path: Path) -> None:
    session = Path("/proc/self/autogroup")
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    lower = max(BUILD_NICE, ours)
    code = (
        "import os, pathlib, subprocess, sys, time\n"
        f"def done(): return os.getpriority(os.PRIO_PROCESS, 0) == {lower} and (not {session.exists()} or"
        f" pathlib.Path('/proc/self/autogroup').read_text().split()[-1] == '{BUILD_NICE}')\n"
        "while not done(): time.sleep(0.01)\n"
        "subprocess.run([sys.executable, '-c', 'import os; print(os.getpriority(os.PRIO_PROCESS, 0))'], check=True)"
    )
    assert (await run_tool(tool(tmp_path, code, 120), BuildLog(tmp_path / "b.log"))).split() == [str(lower)]
    assert os.getpriority(os.PRIO_PROCESS, 0) == ours


async def test_an_error_carries_the_tools_own_last_words(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=r"(?s)step failed \(exit code 1\).*ValueError: no such thing"):
        await run_tool(tool(tmp_path, "raise ValueError('no such thing')"), BuildLog(tmp_path / "b.log"))
    with pytest.raises(StepFailed, match="SIGKILL"):
        await run_tool(tool(tmp_path, "import os; os.kill(os.getpid(), 9)"), BuildLog(tmp_path / "b.log"))


async def test_a_tool_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    missing = Tool("uv", ["/no/such/uv"], {}, tmp_path, 5)
    with pytest.raises(StepFailed, match="uv cannot be started: FileNotFoundError"):
        await run_tool(missing, BuildLog(tmp_path / "b.log"))


SPAWNS = """
import subprocess, time
for apart in (False, True):
    print(subprocess.Popen(['sleep', '60'], start_new_session=apart).pid, flush=True)
"""
"""Starts a child, and one that leaves the group, as a daemon does."""


async def test_what_a_build_started_ends_with_it(tmp_path: Path) -> None:
    said = await run_tool(tool(tmp_path, SPAWNS), BuildLog(tmp_path / "b.log"))
    _all_gone(said)


async def test_at_its_time_limit_all_that_it_started_ends(tmp_path: Path) -> None:
    log = BuildLog(tmp_path / "b.log")
    with pytest.raises(StepFailed, match="did not end within 3 s"):
        await run_tool(tool(tmp_path, f"{SPAWNS}time.sleep(60)", timeout_s=3), log)
    _all_gone(log.path.read_text())


async def test_a_cancelled_build_does_not_go_on(tmp_path: Path) -> None:
    log = BuildLog(tmp_path / "b.log")
    running = asyncio.create_task(run_tool(tool(tmp_path, f"{SPAWNS}time.sleep(60)", 120), log))
    async with asyncio.timeout(60):
        while len(log.since(0).splitlines()) < 2:  # noqa: ASYNC110  # a file tells nobody that it grew
            await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    _all_gone(log.path.read_text())


def test_the_builds_of_one_platform_are_ended_and_of_no_other(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "builds", tmp_path / "builds-of-another"
    started = [
        subprocess.Popen(["/bin/sleep", "60"], env={BUILD: str(log)}, start_new_session=True)
        for log in (ours / "1.log", theirs / "1.log", ours / "2.log")
    ]
    try:
        assert end_builds(ours) == 2
        assert [one.poll() for one in started[1:2]] == [None]
        assert [started[place].wait(60) for place in (0, 2)] == [-signal.SIGKILL] * 2
    finally:
        started[1].kill()
        started[1].wait()


def _all_gone(said: str) -> None:
    started = [int(pid) for pid in said.split()]
    assert len(started) == 2
    for pid in started:
        end = time.monotonic() + 5
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_the_sandbox_says_which_folder_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/setpriv")
    sandbox = Sandbox(61200)
    open_folder = Path("/usr/bin")
    assert sandbox.obstacle(open_folder) == ""
    assert sandbox.uid(3, open_folder) == 61203
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert "closed to other users" in sandbox.obstacle(closed)
    assert sandbox.uid(3, closed) is None
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "does not run as root" in Sandbox(61200).off


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
async def test_a_builds_own_variables_do_not_work_on_what_changes_its_user(tmp_path: Path) -> None:
    (tmp_path / "setpriv").write_text(f"#!/bin/sh\ntouch {tmp_path}/taken\n")
    (tmp_path / "setpriv").chmod(0o755)
    declared = {"PATH": f"{tmp_path}:/usr/bin:/bin", "LD_DEBUG": "files", "A": "it's"}
    said = await run_tool(
        Tool("build", ["/usr/bin/env"], declared, Path("/"), 30, uid=65_534), BuildLog(tmp_path / "b.log")
    )
    assert "A=it's" in said
    assert "transferring control: /usr/bin/env" in said
    whole = (tmp_path / "b.log").read_text()
    assert "transferring control: setpriv" not in whole
    assert "transferring control: prlimit" not in whole
    assert not (tmp_path / "taken").exists()
