"""The project's own supervisord over real embedded servers: what is killed comes back, what is stopped is gone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from algodock_cli.stack.data_folder import DataFolder
from algodock_cli.stack.ports import is_free, temporary_port
from algodock_cli.stack.programs import Process
from algodock_cli.stack.secret_store import Secrets
from algodock_cli.stack.servers import OBJECTS_NICE, Server, ServerContext, embedded_servers
from algodock_cli.stack.supervisor import Supervisor


class Running:
    """Four embedded servers under one supervisord."""

    def __init__(self, folder: DataFolder) -> None:
        secrets = Secrets.load_or_make(folder.secrets_file)
        taken: set[int] = set()
        self.folder = folder
        self.servers: list[Server] = [
            make(ServerContext(folder.servers / name, folder.run, temporary_port(taken), secrets))
            for name, make in embedded_servers({}).items()
        ]
        self.ports = taken
        self.supervisor = Supervisor(folder)

    def start(self) -> None:
        for server in self.servers:
            server.prepare()
        self.supervisor.start({"servers": [server.program() for server in self.servers]})
        self.wait_ready()

    def wait_ready(self) -> None:
        eventually(lambda: all(server.is_ready() for server in self.servers))

    def pids(self) -> dict[str, int]:
        files = {server.name: server.program().pid_file(self.folder.run) for server in self.servers}
        found = {name: Process.from_file(file) for name, file in files.items()}
        return {name: process.pid for name, process in found.items() if process}


def eventually(look: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)


def session(pid: int) -> str | None:
    """Return the priority of a process's session, where the kernel groups sessions."""
    told = Path(f"/proc/{pid}/autogroup")
    return told.read_text().split()[-1] if told.exists() else None


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    stack = Running(DataFolder(tmp_path))
    stack.start()
    yield stack
    stack.supervisor.stop()


def test_a_killed_server_comes_back_on_its_port_with_its_data(running: Running) -> None:
    before = running.pids()
    assert len(before) == 4
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(running.pids()) == 4 and not set(running.pids().values()) & set(before.values()))
    running.wait_ready()


def test_each_is_scheduled_apart_and_still_leads_its_group(running: Running) -> None:
    for name, pid in running.pids().items():
        assert (os.getsid(pid), os.getpgid(pid)) == (pid, pid), name


def test_the_object_store_yields_and_no_other_server(running: Running) -> None:
    grouped = Path("/proc/self/autogroup").exists()  # and each server leads a session
    found = {name: session(pid) for name, pid in running.pids().items()}
    assert found == {name: (str(OBJECTS_NICE if name == "objects" else 0) if grouped else None) for name in found}
    assert len(found) == 4


def test_stop_leaves_no_process_and_no_open_port(running: Running) -> None:
    ours = psutil.Process(running.supervisor.process().pid)  # type: ignore[union-attr]  # it was just started
    below = ours.children(recursive=True)
    assert len(below) > 4  # PostgreSQL has some of its own
    running.supervisor.stop()
    assert not [(one.pid, one.name()) for one in below if one.is_running()]
    assert all(is_free(port) for port in running.ports)
    assert running.supervisor.process() is None


def test_what_a_killed_supervisord_left_is_ended_by_its_pid_files_and_started_anew(running: Running) -> None:
    left = running.pids()
    os.kill(running.supervisor.process().pid, signal.SIGKILL)  # type: ignore[union-attr]
    eventually(lambda: running.supervisor.process() is None)
    assert running.pids() == left  # they live on
    assert set(running.supervisor.end_leftovers()) == set(left)
    assert all(is_free(port) for port in running.ports)
    running.start()
    assert not set(running.pids().values()) & set(left.values())


def test_a_pid_file_of_a_process_that_is_another_one_by_now_ends_nobody(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    pids = folder.run / "pids"
    pids.mkdir(parents=True)
    (pids / "redis.json").write_text(f'{{"pid": {os.getpid()}, "started": 1}}')
    assert Supervisor(folder).end_leftovers() == []
