"""Which instance an attempt calls: any that is ready, or one of the release that the task names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from algodock_runner.clients.answers import AttemptFailed
from algodock_runner.domain.retry import Failure, Kind, task_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from algodock_common.routing import Instance, RoutingTable
    from algodock_runner.domain.tasks import Claim

__all__ = ["choose"]

COMING = frozenset({"starting", "ready", "silent"})
"""States of instances that take calls, or may again."""
SHORT_COMMIT = 12


def choose(table: RoutingTable, claim: Claim, tried: Sequence[Instance]) -> Instance:
    """Choose an instance that was not tried yet, and count a call on it; ``table.release`` gives it back.

    Raises:
        AttemptFailed: none is ready (the attempt is not spent), or none of the release will ever be.
    """
    avoid = {one.id for one in tried}
    version = claim.version
    if version is not None:
        route = table.route(claim.algorithm)
        known = [] if route is None else list(route.instances.values())
        others = [one for one in known if not _is(one, version)]
        avoid.update(one.id for one in others)
        # The first time, this worker may not have heard yet of a release that has just begun to serve.
        if claim.attempt > 1 and not any(_is(one, version) and one.state in COMING for one in known):
            raise _failed(Kind.PERMANENT, "VersionNotServing", _not_serving(claim.algorithm, version, others))
    chosen = table.pick(claim.algorithm, avoid=avoid)
    if chosen is None:
        what = claim.algorithm if version is None else f"release {version} of {claim.algorithm}"
        raise _failed(Kind.NOT_STARTED, "NoHealthyInstance", f"{what} has no healthy instance")
    return chosen


def _is(instance: Instance, version: str) -> bool:
    """Say whether it runs the release of this id, or one of the commit that begins so."""
    return str(instance.release_id) == version or instance.commit.startswith(version)


def _not_serving(algorithm: str, version: str, others: Sequence[Instance]) -> str:
    serving = sorted({f"{one.commit[:SHORT_COMMIT]} (release {one.release_id})" for one in others if one.callable})
    return f"release {version} of {algorithm} does not serve; {', '.join(serving) or 'no other one'} does"


def _failed(kind: Kind, type_: str, message: str) -> AttemptFailed:
    return AttemptFailed(Failure(kind, task_error(type_, message)))
