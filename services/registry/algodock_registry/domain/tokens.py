"""The tokens that instances show with their beats."""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

from algodock_registry.domain.errors import WrongInstanceToken

__all__ = ["InstanceTokens"]


@dataclass(frozen=True, slots=True)
class InstanceTokens:
    """Makes and reads the tokens that instances show with their beats.

    A token is the instance's id and a MAC over it, so none is stored, and each is good for its own
    instance alone.
    """

    key: bytes

    def issue(self, instance_id: UUID) -> str:
        """Return the token of an instance."""
        raw = instance_id.bytes + self._mac(instance_id)
        return "adi_" + base64.urlsafe_b64encode(raw).decode()

    def instance_of(self, token: str) -> UUID:
        """Return whose token this is.

        Raises:
            WrongInstanceToken: it was not made here.
        """
        try:
            raw = base64.b64decode(token.removeprefix("adi_"), altchars=b"-_", validate=True)
            instance_id = UUID(bytes=raw[:16])
        except (ValueError, binascii.Error) as error:
            raise WrongInstanceToken(_NOT_A_TOKEN) from error
        if not token.startswith("adi_") or not hmac.compare_digest(raw[16:], self._mac(instance_id)):
            raise WrongInstanceToken(_NOT_A_TOKEN)
        return instance_id

    def _mac(self, instance_id: UUID) -> bytes:
        return hmac.digest(self.key, instance_id.bytes, sha256)


_NOT_A_TOKEN = "an instance's own token is needed"  # noqa: S105  # a message, no secret
