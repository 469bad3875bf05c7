"""The files that start a program."""

from __future__ import annotations

import configparser
import subprocess
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from algodock_deployer.domain.programs import (
    Limits,
    ProgramSpec,
    common_module,
    full_name,
    group_section,
    ports_module,
    program_name,
    program_section,
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
    text = start_script(replace(spec(tmp_path, "prog"), uid=61201, limits=Limits(memory=2**30)))
    assert "setpriv --reuid=61201 --regid=61201 --clear-groups --no-new-privs prog" in text
    assert "ulimit -d 1048576" in text


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
