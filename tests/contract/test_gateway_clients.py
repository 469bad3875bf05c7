"""The gateway's outside: each fake keeps what the real one promises, told over HTTP."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from pydantic import SecretStr

from algodock_common.errors import Conflict, NotFound
from algodock_common.identifiers import uuid7
from algodock_common.settings import SecretSettings
from algodock_common.web import Identity, InternalClient, new_identity_keys, sign_identity
from algodock_gateway.clients import (
    Deployer,
    FakeDeployer,
    FakeFleet,
    FakeForge,
    FakeRegistry,
    FakeRunner,
    Fleet,
    Forge,
    HttpDeployer,
    HttpFleet,
    HttpForge,
    HttpRegistry,
    HttpRunner,
    Registry,
    Runner,
)
from algodock_gateway.clients.peers import UploadedFile
from algodock_gateway.domain.algorithm import Algorithm
from tests.integration.gateway.peers import Peers

ECHO = Algorithm(uuid7(), "echo", "created", "tester", "")
SERVICE = {"id": str(ECHO.id), "name": "echo", "status": "running", "instances": []}
RELEASES = [{"id": str(uuid7()), "commit": letter * 40, "state": "kept"} for letter in "ab"]
TASK = uuid4()


class Outside:
    """The four clients, all real or all fakes, that know one service and one task; and a signed identity."""

    def __init__(
        self, deployer: Deployer, forge: Forge, registry: Registry, runner: Runner, uploads: list[Any], identity: str
    ) -> None:
        self.deployer, self.forge, self.registry, self.runner = deployer, forge, registry, runner
        self.uploads, self.identity = uploads, identity


@pytest.fixture(params=["real", "fake"])
async def outside(request: pytest.FixtureRequest) -> AsyncIterator[Outside]:
    private, public = new_identity_keys()
    identity = sign_identity(Identity("k", "tester"), private)
    task = {"id": str(TASK), "state": "queued"}
    if request.param == "fake":
        deployer, forge, runner = FakeDeployer(), FakeForge(), FakeRunner()
        deployer.known["echo"], deployer.known_releases["echo"] = SERVICE, RELEASES
        runner.tasks[TASK] = task
        yield Outside(deployer, forge, FakeRegistry(), runner, forge.uploads, identity)
        return
    secrets = SecretSettings(secret_key=SecretStr("s" * 40), identity_public_key=public)
    peers = Peers()
    peers.services["echo"], peers.releases["echo"], peers.tasks[TASK] = SERVICE, RELEASES, task
    transport = httpx.ASGITransport(peers.app(secrets))
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(InternalClient("http://peer", secrets, transport=transport))
        yield Outside(
            HttpDeployer(client), HttpForge(client), HttpRegistry(client), HttpRunner(client), peers.uploads, identity
        )


@pytest.fixture(params=["real", "fake"])
async def fleet(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Fleet, FakeFleet]]:
    """The client, and the fake that knows: the same one, or the one that answers it over HTTP."""
    peers = Peers()
    peers.fleet.known = {"ocr", "chat"}
    if request.param == "fake":
        yield peers.fleet, peers.fleet
        return
    secrets = SecretSettings(secret_key=SecretStr("s" * 40))
    transport = httpx.ASGITransport(peers.app(secrets))
    async with InternalClient("http://peer", secrets, transport=transport) as client:
        yield HttpFleet(client), peers.fleet


async def test_operations_stand_as_the_deployer_says_and_unknown_ones_are_left_out(
    fleet: tuple[Fleet, FakeFleet],
) -> None:
    one, other = uuid7(), uuid7()
    fleet[1].states[one] = ("failed", "it exits")
    assert await fleet[0].standing([one, other]) == {one: ("failed", "it exits")}


async def test_groups_are_made_changed_and_removed(fleet: tuple[Fleet, FakeFleet]) -> None:
    client, _ = fleet
    made = await client.make_group("vision", ["ocr"], owner="me")
    assert (made["name"], made["owner"], made["services"]) == ("vision", "me", ["ocr"])
    with pytest.raises(Conflict):
        await client.make_group("vision", [], owner="me")
    with pytest.raises(NotFound):
        await client.make_group("other", ["none"], owner="me")
    changed = await client.change_group("vision", {"name": "all", "add": ["chat"], "remove": ["ocr"]})
    assert (changed["name"], changed["services"]) == ("all", ["chat"])
    assert [one["name"] for one in await client.groups()] == ["all"]
    await client.drop_group("all")
    for gone in (client.group("all"), client.drop_group("all"), client.change_group("all", {})):
        with pytest.raises(NotFound):
            await gone


async def test_services_are_told_as_they_are_and_an_unknown_one_is_not_found(outside: Outside) -> None:
    assert await outside.deployer.services() == [SERVICE]
    assert await outside.deployer.service("echo") == SERVICE
    with pytest.raises(NotFound):
        await outside.deployer.service("none")


async def test_a_commit_is_asked_to_be_a_canary(outside: Outside) -> None:
    await outside.deployer.ask_canary("echo", "c" * 40, 10)
    with pytest.raises(NotFound):
        await outside.deployer.ask_canary("none", "c" * 40, 10)


async def test_releases_are_listed_all_or_by_commit(outside: Outside) -> None:
    assert await outside.deployer.releases("echo") == RELEASES
    assert await outside.deployer.releases("echo", commit="b" * 40) == RELEASES[1:]
    with pytest.raises(NotFound):
        await outside.deployer.releases("none")


async def test_a_repository_is_made_once(outside: Outside) -> None:
    made = await outside.forge.ensure(ECHO)
    assert made.full_name == "algodock/echo"
    assert made.clone_url.endswith("/git/algodock/echo.git")
    assert await outside.forge.ensure(ECHO) == made


async def test_a_linked_branch_shows_its_head(outside: Outside) -> None:
    linked = await outside.forge.link(ECHO, repo_url="https://git.example.com/x/y.git", branch="main")
    assert linked.full_name == "x/y"
    assert len(linked.commit or "") == 40
    assert linked.problem == ""


async def test_an_upload_carries_every_file(outside: Outside) -> None:
    files = [UploadedFile("main.py", io.BytesIO(b"1"), "text/plain"), UploadedFile("a/b", io.BytesIO(b"2"), "x/y")]
    made = await outside.forge.upload("echo", files, identity=outside.identity, message="m")
    assert (made["success"], made["files"]) == (True, ["main.py", "a/b"])
    assert outside.uploads == [("echo", {"main.py": b"1", "a/b": b"2"})]


async def test_a_task_is_read_in_its_owners_name(outside: Outside) -> None:
    assert (await outside.runner.task(TASK, identity=outside.identity))["state"] == "queued"
    with pytest.raises(NotFound):
        await outside.runner.task(uuid4(), identity=outside.identity)


async def test_a_registered_service_gets_an_instance_and_a_token(outside: Outside) -> None:
    made = await outside.registry.register(ECHO, url="http://127.0.0.1:1")
    assert str(UUID(made["instance_id"])) == made["instance_id"]
    assert made["token"]


@pytest.mark.parametrize("real", [True, False])
async def test_an_instance_gets_another_weight_and_the_last_is_kept(real: bool) -> None:  # noqa: FBT001
    peers = Peers()
    one, other = uuid7(), uuid7()
    shown = {"algorithm": "echo", "host": "h", "port": 1, "state": "ready", "weight": 1, "epoch": 3}
    peers.registered.instances = {id_: {"instance_id": str(id_), **shown} for id_ in (one, other)}
    secrets = SecretSettings(secret_key=SecretStr("s" * 40))
    async with InternalClient("http://p", secrets, transport=httpx.ASGITransport(peers.app(secrets))) as client:
        registry: Registry = HttpRegistry(client) if real else peers.registered
        assert (await registry.weigh(one, 0, force=False))["weight"] == 0
        with pytest.raises(NotFound):
            await registry.weigh(uuid7(), 1, force=False)
        del peers.registered.instances[other]
        with pytest.raises(Conflict):
            await registry.weigh(one, 0, force=False)
        assert (await registry.weigh(one, 0, force=True))["weight"] == 0
