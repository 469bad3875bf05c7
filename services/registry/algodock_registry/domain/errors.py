"""What can be wrong with a request to the registry; each knows its HTTP status."""

from __future__ import annotations

from algodock_common.errors import Conflict, NotFound, Unauthorized, Unavailable

__all__ = ["LastInstance", "PortRangeExhausted", "PortTaken", "UnknownName", "WrongInstanceToken"]


class PortTaken(Conflict):
    """The pinned port is leased, in use by another program, or one of the platform's own."""

    title = "Port taken"
    code = "port-taken"


class PortRangeExhausted(Unavailable):
    """No port of the range is free on this node."""

    title = "No port left"
    code = "port-range-exhausted"


class LastInstance(Conflict):
    """No other instance of the service takes calls."""

    code = "last-instance"


class UnknownName(NotFound):
    """Nothing by this name was ever registered here."""

    code = "unknown-name"


class WrongInstanceToken(Unauthorized):
    """The bearer token is no instance's, or its instance is gone."""

    code = "wrong-instance-token"
