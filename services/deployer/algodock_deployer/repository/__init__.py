"""The deployer's tables and all of its SQL, by noun."""

from algodock_deployer.repository.canaries import Canaries
from algodock_deployer.repository.gpu_leases import GpuLeases
from algodock_deployer.repository.groups import Groups
from algodock_deployer.repository.instances import Instances
from algodock_deployer.repository.operations import Operations
from algodock_deployer.repository.releases import Releases
from algodock_deployer.repository.secrets import SealedSecret, Secrets
from algodock_deployer.repository.services import Services
from algodock_deployer.repository.timeline import Timeline

__all__ = [
    "Canaries",
    "GpuLeases",
    "Groups",
    "Instances",
    "Operations",
    "Releases",
    "SealedSecret",
    "Secrets",
    "Services",
    "Timeline",
]
