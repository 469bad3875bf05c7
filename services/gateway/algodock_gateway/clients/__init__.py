"""The outside: the other services behind Protocols, and HTTP/1.1 for what is streamed through."""

from algodock_gateway.clients.fakes import FakeDeployer, FakeFleet, FakeForge, FakeRegistry, FakeRunner
from algodock_gateway.clients.fleet import Fleet, HttpFleet
from algodock_gateway.clients.peers import (
    Deployer,
    Forge,
    HttpDeployer,
    HttpForge,
    HttpRegistry,
    HttpRunner,
    JsonObject,
    LinkedRepository,
    MadeRepository,
    Registry,
    Runner,
)

__all__ = [
    "Deployer",
    "FakeDeployer",
    "FakeFleet",
    "FakeForge",
    "FakeRegistry",
    "FakeRunner",
    "Fleet",
    "Forge",
    "HttpDeployer",
    "HttpFleet",
    "HttpForge",
    "HttpRegistry",
    "HttpRunner",
    "JsonObject",
    "LinkedRepository",
    "MadeRepository",
    "Registry",
    "Runner",
]
