"""API keys and callback secrets: how they look, and what is kept of them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from dataclasses import dataclass
from typing import Final
from uuid import UUID

__all__ = ["ApiKey", "basic_password", "bearer", "fingerprint", "new_api_key", "new_callback_secret"]

PREFIX: Final = "ak_"
_SCHEME: Final = b"bearer "
_BASIC: Final = b"basic "


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A valid key as the gateway knows it: never the key itself."""

    id: UUID
    name: str
    roles: tuple[str, ...]

    @property
    def key_id(self) -> str:
        """Return the id as text."""
        return str(self.id)


def new_api_key() -> str:
    """Return a new key: URL-safe (it serves as a git password, too), 256 bits of chance."""
    return PREFIX + secrets.token_urlsafe(32)


def new_callback_secret() -> str:
    """Return a new signing secret as Standard Webhooks writes them: ``whsec_`` and base64."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def fingerprint(key: bytes) -> bytes:
    """Return what is stored of a key: with 256 bits of chance in it, a plain SHA-256 is enough."""
    return hashlib.sha256(key).digest()


def bearer(authorization: bytes | None) -> bytes | None:
    """Return the token of ``Authorization: Bearer``, or None."""
    if authorization is None or authorization[:7].lower() != _SCHEME:
        return None
    return authorization[7:].strip() or None


def basic_password(authorization: bytes | None) -> bytes | None:
    """Return the password of ``Authorization: Basic``, or None."""
    if authorization is None or authorization[:6].lower() != _BASIC:
        return None
    try:
        _, colon, password = base64.b64decode(authorization[6:].strip(), validate=True).partition(b":")
    except binascii.Error:
        return None
    return password if colon and password else None
