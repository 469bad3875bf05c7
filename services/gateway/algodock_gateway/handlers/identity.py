"""Who the caller is, said to the other services: the identity header, signed with the gateway's own key."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from algodock_common.web import Identity, sign_identity

if TYPE_CHECKING:
    from pydantic import SecretStr

    from algodock_gateway.domain.keys import ApiKey

__all__ = ["Stamps"]

KEPT_S: Final = 60.0
"""A header is valid for minutes and the same for a key, so it is signed once a minute, not once a call."""


class Stamps:
    """Signs identities."""

    def __init__(self, private_key: SecretStr) -> None:
        """Sign with the Ed25519 key that only the gateway has."""
        self._private_key = private_key
        self._made: dict[ApiKey, tuple[float, str]] = {}

    def of(self, key: ApiKey) -> str:
        """Return the header's value for the key's owner."""
        now = monotonic()
        made = self._made.get(key)
        if made is None or now - made[0] > KEPT_S:
            if len(self._made) > 4096:  # noqa: PLR2004  # only to be bounded
                self._made.clear()
            value = sign_identity(Identity(key.key_id, key.name, key.roles), self._private_key)
            made = self._made[key] = (now, value)
        return made[1]
