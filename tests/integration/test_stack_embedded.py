"""The embedded servers as tests get them: real, private, found by the environment, and gone afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis.asyncio
from redis.exceptions import AuthenticationError

from algodock_cli.stack import EmbeddedServers
from algodock_cli.stack.algorithm_processes import end_all
from algodock_cli.stack.errors import ServerNotReady
from algodock_cli.stack.servers.objects import PROCESSES


async def test_each_server_answers_its_client_and_nobody_without_the_password(tmp_path: Path) -> None:
    with EmbeddedServers(tmp_path, {}) as servers:
        database = await asyncpg.connect(servers.environment["DATABASE_URL"])
        assert await database.fetchval("SHOW fsync") == "on"
        assert await database.fetchval("SHOW server_encoding") == "UTF8"
        await database.close()
        url = servers.environment["DATABASE_URL"]
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(url.replace(url.split(":")[2].split("@")[0], "wrong"))
        cache = redis.asyncio.Redis.from_url(servers.environment["REDIS_URL"])
        assert await cache.ping()
        await cache.aclose()
        stranger = redis.asyncio.Redis.from_url("redis://" + servers.environment["REDIS_URL"].partition("@")[2])
        with pytest.raises(AuthenticationError):
            await stranger.ping()
        await stranger.aclose()


async def test_committed_rows_outlive_a_kill(tmp_path: Path) -> None:
    with EmbeddedServers(tmp_path, {}).start("postgres") as servers:
        database = await asyncpg.connect(servers.environment["DATABASE_URL"])
        await database.execute("CREATE TABLE kept (number int)")
        await database.execute("INSERT INTO kept VALUES (1)")
        database.terminate()
        servers.kill("postgres")
        servers.start("postgres")
        again = await asyncpg.connect(servers.environment["DATABASE_URL"])
        assert await again.fetchval("SELECT number FROM kept") == 1
        await again.close()


def test_no_process_of_the_object_store_outlives_one_that_is_killed(tmp_path: Path) -> None:
    servers = EmbeddedServers(tmp_path, {}).start("objects")
    try:
        started = psutil.Process(servers.pid("objects")).children(recursive=True)
        assert len([one for one in started if "spawn_main" in " ".join(one.cmdline())]) == PROCESSES
        servers.kill("objects")
        left = psutil.wait_procs(started, timeout=60)[1]
        assert not left, [(one.status(), one.cmdline()) for one in left]
        servers.start("objects")  # on the same port
        assert len(psutil.Process(servers.pid("objects")).children()) >= PROCESSES
    finally:
        servers.stop()


def test_listens_on_the_loopback_address_only(tmp_path: Path) -> None:
    with EmbeddedServers(tmp_path, {}) as servers:
        programs = [psutil.Process(servers.pid(name)) for name in servers.names]
        pids = {one.pid for program in programs for one in (program, *program.children(recursive=True))}
        sockets = [one for one in psutil.net_connections("tcp") if one.pid in pids and one.status == "LISTEN"]
        listening = [one.laddr.ip for one in sockets if one.laddr]
        assert len(listening) >= len(servers.names)
        assert set(listening) == {"127.0.0.1"}


def test_a_named_server_is_used_as_it_is(tmp_path: Path) -> None:
    given = {"DATABASE_URL": "postgresql://real/one", "S3_ENDPOINT": "http://real:9000", "S3_ACCESS_KEY": "k"}
    servers = EmbeddedServers(tmp_path, given)
    assert servers.names == ["redis", "kafka"]
    assert given.items() <= servers.environment.items()


def test_a_server_that_cannot_start_says_why_and_takes_the_others_with_it(tmp_path: Path) -> None:
    servers = EmbeddedServers(tmp_path, {}).start("postgres", "redis")
    second = EmbeddedServers(tmp_path, {})  # the same data: PostgreSQL refuses a second server on it
    before = {child.pid for child in psutil.Process().children()}
    try:
        with pytest.raises(ServerNotReady, match=r"postmaster\.pid"):
            second.start("redis", "postgres")
        assert {child.pid for child in psutil.Process().children()} == before
    finally:
        servers.stop()


def test_the_servers_end_with_a_test_run_that_is_killed(tmp_path: Path) -> None:
    run = textwrap.dedent("""
        import os, pathlib, signal, sys
        from algodock_cli.stack import EmbeddedServers
        servers = EmbeddedServers(pathlib.Path(sys.argv[1]), {}).start()
        print(*[servers.pid(name) for name in servers.names], flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    done = subprocess.run([sys.executable, "-c", run, str(tmp_path)], stdout=subprocess.PIPE, text=True, check=False)
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 4
    left = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    _, alive = psutil.wait_procs(left, timeout=15)
    assert alive == []


def test_down_ends_the_algorithms_that_a_killed_supervisord_left(tmp_path: Path) -> None:
    root, folder = tmp_path / "services", tmp_path / "algorithms"
    (root / "echo").mkdir(parents=True)
    (folder / "run").mkdir(parents=True)
    by_folder = subprocess.Popen(["/bin/sleep", "60"], cwd=root / "echo", start_new_session=True)
    by_pid_file = subprocess.Popen(["/bin/sleep", "60"], cwd="/", start_new_session=True)
    edge = subprocess.Popen(["/bin/sleep", "60"], cwd="/", start_new_session=True)
    somebody = subprocess.Popen(["/bin/sleep", "60"], cwd="/", start_new_session=True)
    try:
        (folder / "edge").mkdir()
        (folder / "edge" / "nginx.pid").write_text(f"{edge.pid}\n")
        (folder / "run" / "a.pid").write_text(str(by_pid_file.pid))
        (folder / "run" / "b.pid").write_text(str(somebody.pid))
        os.utime(folder / "run" / "b.pid", (0, 0))  # the pid was another process's when this was written
        assert end_all(folder, root)
        assert not psutil.pid_exists(by_folder.pid)
        assert not psutil.pid_exists(by_pid_file.pid)
        assert not psutil.pid_exists(edge.pid)
        assert psutil.pid_exists(somebody.pid)
        assert not end_all(folder, root)
    finally:
        for process in (by_folder, by_pid_file, edge, somebody):
            process.kill()
            process.wait()
