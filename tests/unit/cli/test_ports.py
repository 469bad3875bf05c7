"""Ports: one block a data folder, and never a port on which somebody listens."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from algodock_cli.stack import ports
from algodock_cli.stack.errors import NoFreePort
from algodock_cli.stack.ports import PortBlock, lease_block, pick_ports, release_block, temporary_port


@pytest.fixture(autouse=True)
def own_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def folder(tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    path.mkdir()
    return path


def test_the_first_data_folder_has_8100_to_8999_and_the_next_9100_to_9999(tmp_path: Path) -> None:
    assert lease_block(folder(tmp_path, "first")).algorithms == "8100-8999"
    assert lease_block(folder(tmp_path, "second")).algorithms == "9100-9999"


def test_a_data_folder_keeps_its_block(tmp_path: Path) -> None:
    mine = folder(tmp_path, "mine")
    other = folder(tmp_path, "other")
    assert lease_block(mine) == lease_block(mine) != lease_block(other)


def test_a_block_is_free_again_when_its_folder_is_gone_or_gives_it_back(tmp_path: Path) -> None:
    gone, given = folder(tmp_path, "gone"), folder(tmp_path, "given")
    first, second = lease_block(gone), lease_block(given)
    gone.rmdir()
    assert lease_block(folder(tmp_path, "third")) == first
    release_block(given)
    assert lease_block(folder(tmp_path, "fourth")) == second


def test_says_so_when_every_block_is_leased(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_BLOCKS", 1)
    lease_block(folder(tmp_path, "one"))
    with pytest.raises(NoFreePort, match="reset"):
        lease_block(folder(tmp_path, "two"))


def test_the_leases_are_their_owners_alone(tmp_path: Path) -> None:
    lease_block(folder(tmp_path, "one"))
    assert ports.leases_file().stat().st_mode & 0o777 == 0o600


def test_a_taken_port_is_passed_over_and_the_others_keep_theirs(listener: int) -> None:
    free = temporary_port(set())
    picked = pick_ports({"busy": listener, "quiet": free}, range(32000, 32768))
    assert picked["quiet"] == free
    assert picked["busy"] not in (listener, free)


def test_says_for_whom_no_port_is_left(listener: int) -> None:
    with pytest.raises(NoFreePort, match="gateway"):
        pick_ports({"gateway": listener}, range(listener, listener + 1))


def test_temporary_ports_differ() -> None:
    taken: set[int] = set()
    assert len({temporary_port(taken) for _ in range(20)}) == 20 == len(taken)


def test_a_temporary_port_of_another_process_is_not_given_while_that_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    two = range(32000, 32002)
    monkeypatch.setattr(ports, "_TEMPORARY", two)
    monkeypatch.setattr(ports, "is_free", lambda _: True)  # nobody listens there yet
    take = (
        "import sys; from algodock_cli.stack import ports; ports._TEMPORARY = range(32000, 32002);"
        "ports.is_free = lambda _: True; print(ports.temporary_port(set()), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", take], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        theirs = int(other.stdout.readline())
        taken: set[int] = set()
        assert temporary_port(taken) == next(port for port in two if port != theirs)
        with pytest.raises(NoFreePort):
            temporary_port(taken)
        other.communicate()
    assert temporary_port(taken) == theirs, "it is free again"
    assert temporary_port({theirs}) != theirs, "who has one may have it again"


def test_a_block_ends_where_the_next_begins() -> None:
    assert PortBlock(8000).platform == range(8000, 8100)
    assert PortBlock(8000).algorithms == "8100-8999"
