"""The gateway's tables and all of its SQL."""

from algodock_gateway.repository.algorithms import Algorithms, AlgorithmStore
from algodock_gateway.repository.batches import Batches
from algodock_gateway.repository.calls import CallStore
from algodock_gateway.repository.keys import Keys, KeyStore
from algodock_gateway.repository.operations import Operations
from algodock_gateway.repository.versions import Versions

__all__ = ["AlgorithmStore", "Algorithms", "Batches", "CallStore", "KeyStore", "Keys", "Operations", "Versions"]
