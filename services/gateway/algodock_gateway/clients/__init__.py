"""The outside: the other services behind Protocols, and HTTP/1.1 for what is streamed through."""

from algodock_gateway.clients.fakes import FakeDeployer, FakeForge, FakeRegistry, FakeRunner
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
    "FakeForge",
    "FakeRegistry",
    "FakeRunner",
    "Forge",
    "HttpDeployer",
    "HttpForge",
    "HttpRegistry",
    "HttpRunner",
    "JsonObject",
    "LinkedRepository",
    "MadeRepository",
    "Registry",
    "Runner",
]
