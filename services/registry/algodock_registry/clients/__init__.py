"""The registry's outside: this machine's ports, the instances' health, the deployer."""

from algodock_registry.clients.deployer import DeployedService, DeployerView, FakeDeployer, HttpDeployer
from algodock_registry.clients.health import FakeProbe, HealthProbe, HttpProbe
from algodock_registry.clients.ports import BindTest, FakeBindTest, SocketBindTest

__all__ = [
    "BindTest",
    "DeployedService",
    "DeployerView",
    "FakeBindTest",
    "FakeDeployer",
    "FakeProbe",
    "HealthProbe",
    "HttpDeployer",
    "HttpProbe",
    "SocketBindTest",
]
