"""What is a test process's own where several run side by side: on real servers, a set of them."""

from __future__ import annotations

import json
from collections.abc import MutableMapping

__all__ = ["take_share"]

_SHARES = "ALGODOCK_TEST_SHARES"
_PROCESS = "PYTEST_XDIST_WORKER"  # gw0, gw1, …


def take_share(environment: MutableMapping[str, str]) -> None:
    """Put the variables of this process's share into its environment; there are none where all share the embedded kind.

    Raises:
        IndexError: there are more processes than shares.
    """
    if _SHARES in environment and _PROCESS in environment:
        shares: list[dict[str, str]] = json.loads(environment[_SHARES])
        environment.update(shares[int(environment[_PROCESS].removeprefix("gw"))])
