"""Limits by the kernel where it gives some, and by watching where not."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from algodock_deployer.clients.cgroups import Cgroups
from algodock_deployer.clients.confinement import KernelConfinement
from algodock_deployer.clients.sandbox import Sandbox
from algodock_deployer.domain.programs import Limits, start_script
from tests.unit.deployer.test_programs import spec

LIMITS = Limits(memory=2**26, processes=50)
HOG = "held = [bytearray(2**20) for _ in range(300)]; print('not held')"
DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        time.sleep(60)
    os._exit(0)
os.wait()
"""


def watched() -> KernelConfinement:
    return KernelConfinement(Cgroups("x", wanted=False), Sandbox(61200, wanted=False))


def tree(mount: Path, own: str, *files: str) -> Cgroups:
    for name in files:
        path = mount / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("memory pids cpu" if name.endswith("controllers") else "")
    (mount / "own").write_text(own)
    return Cgroups("me", mount=mount, own=mount / "own")


def test_version_1_has_a_group_for_memory_and_one_for_processes(tmp_path: Path) -> None:
    (tmp_path / "memory" / "job").mkdir(parents=True)
    own = "4:memory:/job\n8:pids:/of/the/host\n0::/\n"
    found = tree(tmp_path, own, "memory/cgroup.procs", "pids/cgroup.procs")
    memory, pids = found.groups("p", LIMITS)
    assert memory.folder == tmp_path / "memory" / "job" / "algodock-me" / "p"
    assert dict(memory.settings) == {
        "memory.limit_in_bytes": "67108864", "memory.memsw.limit_in_bytes": "67108864"
    }  # fmt: skip
    assert pids.folder == tmp_path / "pids" / "algodock-me" / "p", "what a container sees is its own"
    assert dict(pids.settings) == {"pids.max": "50"}
    assert found.holds("memory")
    assert found.holds("pids")


def test_version_2_has_one_group_for_both(tmp_path: Path) -> None:
    found = tree(tmp_path, "0::/\n", "cgroup.controllers", "cgroup.subtree_control")
    (one,) = found.groups("p", LIMITS)
    assert one.folder == tmp_path / "algodock-me" / "p"
    assert dict(one.settings) == {
        "memory.max": "67108864", "memory.swap.max": "0", "memory.oom.group": "1", "pids.max": "50"
    }  # fmt: skip
    one.folder.mkdir()
    (one.folder / "memory.events").write_text("low 0\noom 2\noom_kill 2\n")
    assert found.ooms("p") == 2


def test_where_there_are_none_it_says_why(tmp_path: Path) -> None:
    none = tree(tmp_path, "0::/\n")
    assert none.groups("p", LIMITS) == ()
    assert none.obstacle == "the machine has no control groups for memory"
    (tmp_path / "memory" / "algodock-me").parent.mkdir()
    (tmp_path / "memory" / "algodock-me").write_text("in the way")
    refused = tree(tmp_path, "4:memory:/\n", "memory/cgroup.procs")
    assert "no control group can be made" in refused.obstacle
    notes = " ".join(KernelConfinement(refused, Sandbox(61200, wanted=False)).notes())
    assert "memory is watched, not held by the kernel (no control group can be made" in notes
    assert "the number of processes is not limited" in notes
    assert "change their own code" in notes


async def test_memory_is_watched_with_all_that_a_process_has_started() -> None:
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOG + '; import time; time.sleep(60)'!r}])"
    with subprocess.Popen([sys.executable, "-c", child]) as main:  # noqa: ASYNC220  # nothing else waits here
        try:
            reason = ""
            end = time.monotonic() + 60
            while not reason and time.monotonic() < end:
                reason = await watched().past_memory("p", main.pid, 2**28)
                await asyncio.sleep(0.05)
            assert "its memory went past the limit of 256 MiB: " in reason
            assert await watched().past_memory("p", main.pid, 2**40) == ""
        finally:
            for process in psutil.Process(main.pid).children(recursive=True):
                process.kill()
            main.kill()
    assert await watched().past_memory("p", main.pid, 1) == "", "it is gone"


async def test_a_daemon_is_found_by_its_token_and_nobody_elses_is_touched() -> None:
    token, other = uuid4().hex, uuid4().hex
    daemon, bystander = _daemon(token), _daemon(other)
    with subprocess.Popen(["/bin/sleep", "60"], env={"ALGODOCK_TOKEN": token}) as current:  # noqa: ASYNC220  # nothing else waits here
        assert await watched().end_strays("p", token, spare=current.pid) == 1
        _ends(daemon)
        assert current.poll() is None
        assert psutil.pid_exists(bystander)
        assert await watched().end_strays("p", token) == 1
        assert current.wait(10) == -9
    assert await watched().end_strays("p", "") == 0
    assert await watched().end_strays("p", other) == 1
    _ends(bystander)


def _daemon(token: str) -> int:
    done = subprocess.Popen(
        [sys.executable, "-c", DAEMON], env={"ALGODOCK_TOKEN": token}, stdout=subprocess.PIPE, text=True
    )
    assert done.stdout
    return int(done.stdout.readline())


def _ends(pid: int) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return
        except psutil.NoSuchProcess:
            return
        time.sleep(0.02)
    pytest.fail(f"process {pid} lives")


async def test_the_kernel_itself_holds_a_program_or_says_why_not(tmp_path: Path) -> None:
    cgroups = Cgroups(f"test-{uuid4().hex[:8]}")
    if not cgroups.holds("memory"):
        assert cgroups.obstacle, "a machine without must say so"
        return
    confinement = KernelConfinement(cgroups, Sandbox(61200, wanted=False))
    one = replace(spec(tmp_path, sys.executable, "-c", HOG), groups=confinement.groups("p", LIMITS), limits=LIMITS)
    one.script.write_text(start_script(one))
    try:
        assert await confinement.past_memory("p", 0, 2**26) == ""
        done = subprocess.run(["/bin/sh", str(one.script)], capture_output=True, text=True, check=False)  # noqa: ASYNC221  # nothing else waits here
        assert done.returncode == -9, done
        assert await confinement.past_memory("p", 0, 2**26) == "its memory reached the limit of 64 MiB"
        assert await confinement.past_memory("p", 0, 2**26) == "", "said once"
        stray = replace(one, argv=(sys.executable, "-c", DAEMON))
        stray.script.write_text(start_script(stray))
        with subprocess.Popen(["/bin/sh", str(stray.script)], stdout=subprocess.PIPE, text=True) as started:  # noqa: ASYNC220  # nothing else waits here
            assert started.stdout
            pid = int(started.stdout.readline())
        assert pid in cgroups.members("p")
        assert await confinement.end_strays("p", "") == 1
        _ends(pid)
    finally:
        folders = [group.folder for group in confinement.groups("p", LIMITS)]
        cgroups.clear("p")
        for folder in folders:
            folder.parent.rmdir()
    assert not any(folder.exists() for folder in folders)
