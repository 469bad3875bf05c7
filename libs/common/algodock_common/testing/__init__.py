"""Fakes of what two or more services reach outside; each meets the contract test of the real one."""

from algodock_common.testing.object_store import FakeObjectStore
from algodock_common.testing.slots import FakeSlots

__all__ = ["FakeObjectStore", "FakeSlots"]
