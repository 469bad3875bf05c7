"""The registry as the runner's API asks it: the fake says no more than the real one would."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest

from algodock_common.errors import Unavailable, UpstreamFailed
from algodock_common.events import InstanceChanged, Limits
from algodock_common.routing import RouteSnapshot
from algodock_common.settings import SecretSettings
from algodock_common.web import InternalClient
from algodock_runner.clients.registry import FakeRegistry, HttpRegistry, Registry

SECRETS = SecretSettings(secret_key="s" * 40)


def instance(algorithm: str, epoch: int, task_queue: int | None) -> InstanceChanged:
    return InstanceChanged(
        instance_id=uuid4(),
        algorithm_id=uuid4(),
        algorithm=algorithm,
        node_id="n",
        host="127.0.0.1",
        port=9000,
        base_url="http://127.0.0.1:9000",
        state="ready",
        limits=Limits(task_queue=task_queue),
        epoch=epoch,
    )


def answering(status: int, content: bytes) -> HttpRegistry:
    transport = httpx.MockTransport(lambda _: httpx.Response(status, content=content))
    return HttpRegistry(InternalClient("http://registry", SECRETS, transport=transport))


@pytest.mark.parametrize("real", [True, False])
async def test_the_newest_instance_of_an_algorithm_says_how_many_tasks_may_wait(*, real: bool) -> None:
    instances = [instance("a", 3, 7), instance("a", 1, 5), instance("b", 2, None), instance("c", 4, 0)]
    snapshot = RouteSnapshot(epoch=4, instances=instances).model_dump_json().encode()
    fake = FakeRegistry()
    fake.declared = {"a": 7, "c": 0}
    registry: Registry = answering(200, snapshot) if real else fake
    assert await registry.declared_depths() == {"a": 7, "c": 0}


async def test_a_registry_that_is_away_or_speaks_otherwise_is_no_word_on_depths() -> None:
    with pytest.raises(Unavailable):
        await answering(503, b"").declared_depths()
    with pytest.raises(UpstreamFailed):
        await answering(200, b'{"routes": []}').declared_depths()
