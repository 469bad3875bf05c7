"""Capacity: one concurrency limit a service, kept in Redis for gateways and workers together."""

from algodock_common.capacity.keeper import Capacity
from algodock_common.capacity.load import Durations, LoadTeller
from algodock_common.capacity.share import SMALL, Share
from algodock_common.capacity.slots import Ask, Granted, RedisSlots, SlotsAway, SlotStore

__all__ = [
    "SMALL",
    "Ask",
    "Capacity",
    "Durations",
    "Granted",
    "LoadTeller",
    "RedisSlots",
    "Share",
    "SlotStore",
    "SlotsAway",
]
