"""Secrets of a service: which names they may have, and how much of them there may be."""

from __future__ import annotations

import re
from collections.abc import Mapping

from algodock_common.errors import Conflict, InvalidInput, NotFound
from algodock_deployer.domain.manifest import RESERVED

__all__ = ["SecretUnknown", "TooManySecrets", "check_name", "check_room", "check_value"]

NAME = re.compile(r"^[A-Z][A-Z0-9_]{0,127}$")
LONGEST = 16 * 1024
MOST = 32
TOGETHER = 48 * 1024
"""Bytes of all values of a service: they go through one variable of at most 128 KiB, each quote fourfold."""

_PLATFORMS = RESERVED | {"PATH", "LANG", "PYTHONPATH", "PYTHONUNBUFFERED", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"}


class SecretUnknown(NotFound):
    """The service has no secret of this name."""


class TooManySecrets(Conflict):
    """The service has as many secrets as it may."""


def check_name(name: str) -> str:
    """Return ``name`` if a secret may have it: it becomes a variable of the service's programs.

    Raises:
        InvalidInput: it is none, or the platform's own.
    """
    if not NAME.fullmatch(name):
        msg = f"{name[:128]!r} cannot name a secret: capitals, digits and _, such as OPENAI_API_KEY"
        raise InvalidInput(msg)
    if name in _PLATFORMS or name.startswith(("ALGODOCK_", "LD_")):
        msg = f"{name} is set by the platform, or for the dynamic linker; a secret needs another name"
        raise InvalidInput(msg)
    return name


def check_value(value: str) -> str:
    """Return ``value`` if it can be a variable; an error never repeats it.

    Raises:
        InvalidInput: it is empty, too long, or has a zero byte.
    """
    if not value or "\0" in value or len(value.encode()) > LONGEST:
        msg = f"a secret's value has 1 to {LONGEST} bytes and no zero byte"
        raise InvalidInput(msg)
    return value


def check_room(present: Mapping[str, int], name: str, size: int) -> None:
    """See to it that one more secret of ``size`` bytes fits beside those that are ``present``, by name and size.

    Raises:
        TooManySecrets: it does not.
    """
    others = {one: length for one, length in present.items() if one != name}
    if len(others) >= MOST or sum(others.values()) + size > TOGETHER:
        msg = f"a service has at most {MOST} secrets of {TOGETHER} bytes together; remove one first"
        raise TooManySecrets(msg)
