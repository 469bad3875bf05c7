"""The launcher: what is started has exactly the environment, the identity and the pid that were declared."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from algodock_cli.stack.launch import started_ticks
from algodock_cli.stack.privileges import identity_for, reachable_by_others
from algodock_cli.stack.programs import OWN_USER, Identity, Process, Program

AS_ROOT = os.geteuid() == 0
LOOK = "import os, json; print(json.dumps([os.geteuid(), dict(os.environ), os.getpid(), os.getcwd()]))"


def program(folder: Path, *command: str, identity: Identity = OWN_USER, **environment: str) -> Program:
    return Program(
        name="look",
        command=command or (sys.executable, "-I", "-c", LOOK),
        environment=environment,
        directory=folder,
        identity=identity,
    )


def run(declared: Program, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(declared.declare(folder), text=True, capture_output=True, check=False)


def test_gives_the_program_its_environment_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_OUTSIDE", "seen")
    odd = 'a "quoted" %(percent)s, $HOME; and ünïcode'
    _, environment, _, where = json.loads(run(program(tmp_path, ODD=odd), tmp_path).stdout)
    environment.pop("LC_CTYPE", None)  # Python's own, where the locale is C
    assert environment == {"ODD": odd}
    assert where == str(tmp_path)


def test_keeps_the_program_file_to_its_owner(tmp_path: Path) -> None:
    program(tmp_path, SECRET="s").declare(tmp_path)
    assert (tmp_path / "programs" / "look.json").stat().st_mode & 0o777 == 0o600


def test_notes_the_pid_that_the_program_then_has(tmp_path: Path) -> None:
    declared = program(tmp_path, "/bin/sleep", "60")
    child = subprocess.Popen(declared.declare(tmp_path))
    pid_file = declared.pid_file(tmp_path)
    try:
        while not pid_file.exists():
            time.sleep(0.01)
        noted = Process.from_file(pid_file)
        assert noted is not None
        assert (noted.pid, noted.started) == (child.pid, started_ticks(child.pid))
    finally:
        child.kill()
        child.wait()
    assert Process.from_file(pid_file) is None


def test_ends_with_its_parent_when_asked_to(tmp_path: Path) -> None:
    declared = program(tmp_path, "/bin/sleep", "60")
    command = declared.declare(tmp_path, parent_death_signal=signal.SIGKILL)
    parent = (
        f"import subprocess, sys, time; subprocess.Popen({command!r});"
        "import pathlib; f = pathlib.Path(sys.argv[1])\nwhile not f.exists(): time.sleep(0.01)\ntime.sleep(0.3)"
    )
    subprocess.run([sys.executable, "-c", parent, str(declared.pid_file(tmp_path))], check=True)
    end = time.monotonic() + 5
    while Process.from_file(declared.pid_file(tmp_path)) is not None:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_says_why_a_program_cannot_be_executed(tmp_path: Path) -> None:
    done = run(program(tmp_path, "/no/such/program"), tmp_path)
    assert done.returncode != 0
    assert "No such file" in done.stderr


def test_an_ordinary_user_runs_everything_as_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert identity_for(Path("/bin/true"), tmp_path, tmp_path) == OWN_USER


@pytest.mark.parametrize("kind", ["user", "namespace"])
def test_another_identity_than_root_reaches_a_private_folder(tmp_path: Path, kind: str) -> None:
    tmp_path.chmod(0o700)
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "read").write_text("read")
    rights = ("dac_override", "dac_read_search") if kind == "user" else ()
    identity = Identity(kind=kind, uid=65534, gid=65534, capabilities=rights)  # type: ignore[arg-type]
    if not AS_ROOT:
        identity = OWN_USER
    look = "import os, sys; print(os.geteuid(), open(sys.argv[1]).read(), os.access(sys.argv[1], os.R_OK))"
    python = Path(sys.executable)
    done = run(program(inside, str(python), "-I", "-c", look, str(inside / "read"), identity=identity), tmp_path)
    uid = 65534 if AS_ROOT else os.geteuid()
    assert done.stdout.split() == [str(uid), "read", "True"], done.stderr


def test_a_lent_user_has_no_right_beside_the_named_ones(tmp_path: Path) -> None:
    identity = Identity(kind="user", uid=65534, gid=65534, capabilities=("dac_read_search",)) if AS_ROOT else OWN_USER
    look = "print(*[line for line in open('/proc/self/status') if line.startswith(('CapEff', 'CapBnd', 'NoNewPrivs'))])"
    done = run(program(tmp_path, sys.executable, "-I", "-c", look, identity=identity), tmp_path)
    said = dict(line.split(":\t") for line in done.stdout.split("\n") if line)
    effective = int(said[next(key for key in said if "CapEff" in key)], 16)
    assert effective == (1 << 2 if AS_ROOT else 0), done.stderr


def test_tells_a_private_folder_from_an_open_one(tmp_path: Path) -> None:
    assert reachable_by_others(Path("/bin/sh"))
    tmp_path.chmod(0o700)
    (tmp_path / "inside").mkdir()
    assert not reachable_by_others(tmp_path / "inside")


def test_a_pid_that_belongs_to_another_process_by_now_is_nobodys(tmp_path: Path) -> None:
    file = tmp_path / "pid.json"
    for text in (
        f'{{"pid": {os.getpid()}, "started": 1}}',
        "",
        "not json",
        '{"pid": "x"}',
        '{"pid": 4194999, "started": 1}',
    ):
        file.write_text(text)
        assert Process.from_file(file) is None


@pytest.fixture(params=["1", None], ids=["supervisord's", "a terminal's"])
def supervised(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Start programs as supervisord does, and as a terminal does."""
    monkeypatch.delenv("SUPERVISOR_ENABLED", raising=False)
    if request.param is not None:
        monkeypatch.setenv("SUPERVISOR_ENABLED", request.param)
    return request.param is not None


def test_a_program_of_supervisord_leads_a_session(tmp_path: Path, *, supervised: bool) -> None:
    look = "import os; print(os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid())"
    command = program(tmp_path, sys.executable, "-I", "-c", look).declare(tmp_path)
    told = subprocess.run(command, text=True, capture_output=True, check=True, process_group=0).stdout
    assert told.split() == [str(supervised), "True"]


def test_a_program_that_yields_lowers_itself_and_no_session_that_it_shares(tmp_path: Path, *, supervised: bool) -> None:
    look = (
        "import os, pathlib; own = pathlib.Path('/proc/self/autogroup');"
        "told = own.read_text() if own.exists() else '';"  # init's own session has none
        "print(os.getpriority(os.PRIO_PROCESS, 0), told.split()[-1] if told else 'none')"
    )
    declared = program(tmp_path, sys.executable, "-I", "-c", look)
    (ours, session), (usual, shared), lowered = (
        run(one, tmp_path).stdout.split()
        for one in (declared, dataclasses.replace(declared, nice=0), dataclasses.replace(declared, nice=12))
    )
    assert (ours, session) == (usual, shared)
    assert lowered == [str(max(12, int(ours))), "12" if supervised and session != "none" else session]
