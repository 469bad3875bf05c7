"""The files that start a program."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from algodock_deployer.domain.programs import (
    ControlGroup,
    Limits,
    ProgramSpec,
    common_module,
    full_name,
    group_section,
    ports_module,
    program_name,
    program_section,
    secrets_file,
    socket_path,
    start_script,
)

RELEASE = UUID("01a202d6-d954-70ac-baae-d769424287f6")


def spec(folder: Path, *argv: str, **environment: str) -> ProgramSpec:
    return ProgramSpec(
        program="ai-x-1-d769424287f6", argv=argv, folder=folder, script=folder / "start.sh", pid_file=folder / "pid",
        stdout=folder / "out.log", stderr=folder / "err.log", environment=environment,
    )  # fmt: skip


def test_a_program_is_named_after_algorithm_number_and_release() -> None:
    assert full_name(program_name("text-classify", 2, RELEASE)) == "ai-services:ai-text-classify-2-d769424287f6"


def test_the_start_script_sets_what_was_declared_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "it's a folder; $(touch hacked)"
    folder.mkdir()
    tricky = 'it\'s $HOME `id` "quoted"\nsecond line'
    one = spec(folder, "/usr/bin/env", "-0", TRICKY=tricky, PATH="/usr/bin:/bin")
    one.script.write_text(start_script(one))
    done = subprocess.run(
        ["/bin/sh", str(one.script)], env={"SECRET_KEY": "leak", "PATH": "/bin"}, capture_output=True, check=True
    )
    seen = dict(entry.split("=", 1) for entry in done.stdout.decode().split("\0") if entry)
    assert seen == {"TRICKY": tricky, "PATH": "/usr/bin:/bin"}
    assert one.pid_file.read_text().strip().isdigit()
    assert not list(tmp_path.rglob("hacked"))


def test_another_uid_and_limits_are_in_the_start_script(tmp_path: Path) -> None:
    limits = Limits(memory=2**30, processes=100, file_size=2**20)
    text = start_script(replace(spec(tmp_path, "prog"), uid=61201, limits=limits))
    alone = "setpriv --reuid=61201 --regid=61201 --clear-groups --no-new-privs /bin/sh -c"
    assert f"exec prlimit --nproc=400 {alone}" in text, "for all instances of the service together"
    assert "prlimit" not in start_script(replace(spec(tmp_path, "prog"), limits=limits)), "it would count others'"
    assert f"exec {alone}" in start_script(replace(spec(tmp_path, "prog"), uid=61201))
    assert "ulimit -d" not in text, "neither that nor -v: both break what reserves much and uses little"


def test_what_is_declared_takes_effect_only_when_the_user_has_been_changed(tmp_path: Path) -> None:
    """The dynamic linker tells of every program that it starts with the declared environment."""
    hostile = tmp_path / "bin"
    hostile.mkdir()
    for name in ("prlimit", "setpriv", "sh"):
        (hostile / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/taken\n")
        (hostile / name).chmod(0o755)
    declared = {"PATH": f"{hostile}:/usr/bin:/bin", "LD_DEBUG": "files", "LD_BIND_NOW": "1", "A": "it's\n$HOME"}
    limits = Limits(processes=100)
    one = replace(spec(tmp_path, "/usr/bin/env", "-0", **declared), limits=limits, folder=Path("/"))
    other = replace(one, uid=65_534)
    for number, changed in enumerate((one, other)):
        one.script.write_text(start_script(changed))
        text = one.script.read_text()
        assert ("export LD_DEBUG" in text.split("exec ")[-2]) == (number == 0)
    if os.geteuid() != 0:
        return  # nobody else can be become: what the script says has been looked at
    done = subprocess.run(["/bin/sh", str(one.script)], capture_output=True, check=True)
    seen = dict(entry.split("=", 1) for entry in done.stdout.decode().split("\0") if entry)
    assert seen == declared
    said = done.stderr.decode(errors="replace")
    assert "transferring control: /usr/bin/env" in said
    assert "transferring control: setpriv" not in said
    assert "transferring control: prlimit" not in said
    assert not (tmp_path / "taken").exists()


@pytest.mark.parametrize("uid", [None, 65_534])
def test_secrets_come_from_a_file_that_only_the_platform_reads(tmp_path: Path, uid: int | None) -> None:
    values = {"KEY": "it's `secret`\n$HOME", "OTHER": "x"}
    secrets = tmp_path / "secrets"
    secrets.write_text(secrets_file(values))
    secrets.chmod(0o600)
    uid = uid if os.geteuid() == 0 else None
    one = replace(spec(tmp_path, "/usr/bin/env", "-0", A="1", OTHER="y"), secrets=secrets, folder=Path("/"), uid=uid)
    one.script.write_text(start_script(one))
    assert "secret`" not in one.script.read_text()
    for found in ({"A": "1", **values}, {"A": "1", "OTHER": "y"}):
        done = subprocess.run(["/bin/sh", str(one.script)], capture_output=True, check=True)
        assert dict(entry.split("=", 1) for entry in done.stdout.decode().split("\0") if entry) == found
        secrets.unlink(missing_ok=True)


def test_a_file_past_its_size_cannot_be_written(tmp_path: Path) -> None:
    code = "import sys; open(sys.argv[1], 'wb').write(bytes(3 * 2**20))"
    one = replace(spec(tmp_path, sys.executable, "-c", code, "big"), limits=Limits(file_size=2**20))
    one.script.write_text(start_script(one))
    done = subprocess.run(["/bin/sh", str(one.script)], capture_output=True, check=False)
    assert done.returncode != 0
    assert (tmp_path / "big").stat().st_size <= 2**20


def group(folder: Path, *present: str) -> ControlGroup:
    """Make what looks like a control group of the kernel's."""
    folder.mkdir()
    for name in ("cgroup.procs", *present):
        (folder / name).touch()
    return ControlGroup(folder, (("memory.max", "1024"), ("memory.swap.max", "0")))


def test_the_start_script_enters_its_control_groups_with_their_limits_set(tmp_path: Path) -> None:
    one = replace(spec(tmp_path, "/bin/true"), groups=(group(tmp_path / "a b", "memory.max"),))
    one.script.write_text(start_script(one))
    subprocess.run(["/bin/sh", str(one.script)], check=True)
    assert (tmp_path / "a b" / "memory.max").read_text() == "1024\n"
    assert not (tmp_path / "a b" / "memory.swap.max").exists(), "this kernel has none"
    assert (tmp_path / "a b" / "cgroup.procs").read_text() == one.pid_file.read_text()


def test_without_its_control_groups_a_program_starts_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    one = replace(spec(tmp_path, "/bin/true"), groups=(ControlGroup(tmp_path / "file" / "group"),))
    one.script.write_text(start_script(one))
    done = subprocess.run(["/bin/sh", str(one.script)], capture_output=True, check=True)
    assert not done.stderr


@pytest.mark.parametrize("runs", [False, True])
def test_what_an_ended_run_left_in_the_group_is_ended_before_the_next(runs: bool, tmp_path: Path) -> None:  # noqa: FBT001
    one = replace(spec(tmp_path, "/bin/true"), groups=(group(tmp_path / "g"),))
    one.script.write_text(start_script(one))
    with subprocess.Popen(["/bin/sleep", "60"]) as main, subprocess.Popen(["/bin/sleep", "60"]) as left:
        (tmp_path / "g" / "cgroup.procs").write_text(f"{left.pid}\n")
        one.pid_file.write_text(f"{main.pid}\n")
        if not runs:
            main.kill()
            main.wait()
        subprocess.run(["/bin/sh", str(one.script)], check=True)
        if runs:
            assert left.poll() is None, "a script that somebody runs by hand ends nothing that serves"
        else:
            assert left.wait(10) == -9
        main.kill()
        left.kill()


def test_the_section_is_what_supervisord_reads(tmp_path: Path) -> None:
    folder = tmp_path / "50%"
    text = program_section(spec(folder, "prog")) + group_section(["ai-b-1-x", "ai-a-1-x"])
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    section = dict(parser["program:ai-x-1-d769424287f6"])
    assert section["stopwaitsecs"] == "10"
    assert section["stdout_logfile"].replace("%%", "%") == str(folder / "out.log")
    assert parser["group:ai-services"]["programs"] == "ai-a-1-x,ai-b-1-x"


def test_a_path_that_would_end_its_line_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot stand"):
        program_section(spec(Path("/a\n[program:evil]"), "prog"))


def test_the_generated_modules_can_be_imported() -> None:
    space: dict[str, object] = {}
    exec(ports_module({"a-b": 8101}), space)  # noqa: S102  # it is our own text
    assert space["PORTS"] == {"a-b": 8101}
    exec(common_module(Path("/srv/it's")), space)  # noqa: S102
    assert space["SERVICE_ROOT"] == "/srv/it's"


def test_a_socket_never_has_too_long_a_name() -> None:
    assert socket_path(Path("/short")) == Path("/short/supervisord.sock")
    assert len(str(socket_path(Path("/" + "x" * 200)))) < 100
