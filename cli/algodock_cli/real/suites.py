"""The tests on real servers: each of their processes has servers of its own, as users have one platform each."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from algodock_cli.real.docker import docker_engine
from algodock_cli.real.installs import machine_program
from algodock_cli.real.servers import RealServers, real_servers
from algodock_cli.stack.data_folder import project_folder
from algodock_cli.stack.lifecycle import Stack

__all__ = ["BROWSER", "DOCKER", "EDGE", "ON_REAL_SERVERS", "SHARES", "prepared"]

BROWSER = "tests/browser"
DOCKER = "tests/docker"
EDGE = "tests/edge"
ON_REAL_SERVERS = (("tests/integration",), ("tests/e2e", "tests/faults", BROWSER, DOCKER, EDGE))
"""What runs against real servers by default, each on servers that begin empty: what one leaves would wake the next.

The browser, the Docker Engine and nginx are Debian's, as those servers are, so what needs them belongs here; without
--real it runs when named.
"""
SHARES = "ALGODOCK_TEST_SHARES"
"""Names the environments of the test processes: a JSON list, the first for the first process."""

Progress = Callable[[str], None]


@contextmanager
def prepared(suite: list[str], processes: int, progress: Progress) -> Iterator[dict[str, str]]:
    """Start what a suite needs and give the environment of its run.

    Servers that the environment names are used as they are.

    Args:
        suite: paths of tests, among other words for pytest.
        processes: how many test processes run side by side, each on a set of servers of its own.
        progress: is told each step.

    Raises:
        ServerMissing: a server is named and does not answer, or cannot be had here.
        ServerNotReady: one did not come up.
    """
    with ExitStack() as started:
        shares = [_share(started, number, progress) for number in range(processes)]
        common: dict[str, str] = {}
        if any(word.startswith(DOCKER) for word in suite):
            common |= started.enter_context(docker_engine(os.environ, progress=progress))
        if any(word.startswith(BROWSER) for word in suite) and "CHROMIUM" not in os.environ:
            common["CHROMIUM"] = str(machine_program("chromium", "chromium", progress))
        if any(word.startswith(EDGE) for word in suite) and "NGINX_BINARY" not in os.environ:
            common["NGINX_BINARY"] = str(machine_program("nginx", "nginx", progress))
        yield shares[0] | common if processes == 1 else common | {SHARES: json.dumps(shares)}


def _share(started: ExitStack, number: int, progress: Progress) -> dict[str, str]:
    """Start a set of servers; give the variables that name them and the folder of platforms on them."""
    folder = project_folder() / ".algodock" / ("real" if number == 0 else f"real-{number + 1}")
    servers = started.enter_context(real_servers(os.environ, RealServers(folder), progress=progress))
    named = {"ALGODOCK_REAL_DIR": str(folder), **servers}
    if "ALGODOCK_DATA_DIR" in os.environ:
        return named
    # A platform that tests start on these servers must not meet what an earlier one kept on disk.
    named["ALGODOCK_DATA_DIR"] = str(folder / "platform")
    Stack(os.environ | named).reset(progress=progress)
    return named
