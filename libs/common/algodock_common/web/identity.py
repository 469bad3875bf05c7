"""Who the person is, between services: a header that the gateway signs and everybody can check.

Format: ``base64url(JSON) "." base64url(Ed25519 signature)``, valid for a few minutes. Only the
gateway holds the private key, so no other service (and no algorithm) can make one.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from starlette.requests import Request

from algodock_common.errors import AlgoDockError, Unauthorized

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from pydantic import SecretStr

__all__ = [
    "IDENTITY_HEADER",
    "Identity",
    "current_identity",
    "new_identity_keys",
    "sign_identity",
    "verify_identity",
]

IDENTITY_HEADER: Final = "x-algodock-identity"
LIFETIME_S: Final = 300
_NOT_VALID: Final = "The identity header is not valid."

# Keeps a signature made for this purpose from ever meaning anything else.
_CONTEXT: Final = b"algodock/identity/1\n"


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller that the gateway has authenticated: the API key, the owner's name, the roles."""

    key_id: str
    name: str
    roles: tuple[str, ...] = ()


def new_identity_keys() -> tuple[str, str]:
    """Return a new private and public key (Ed25519, raw, base64) for the identity settings."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # late: 8 MB

    private = Ed25519PrivateKey.generate()
    return (
        base64.b64encode(private.private_bytes_raw()).decode(),
        base64.b64encode(private.public_key().public_bytes_raw()).decode(),
    )


def sign_identity(identity: Identity, private: SecretStr | str, *, now: float | None = None) -> str:
    """Return the header's value; ``private`` is ``IDENTITY_PRIVATE_KEY``.

    Raises:
        AlgoDockError: the key is not a raw Ed25519 key in base64.
    """
    key = _private_key(private if isinstance(private, str) else private.get_secret_value())
    expires = int(time.time() if now is None else now) + LIFETIME_S
    claims = {"key_id": identity.key_id, "name": identity.name, "roles": identity.roles, "exp": expires}
    payload = json.dumps(claims, separators=(",", ":")).encode()
    return f"{_encode(payload)}.{_encode(key.sign(_CONTEXT + payload))}"


def verify_identity(value: str, public: str, *, now: float | None = None) -> Identity:
    """Return who the header's value names; ``public`` is ``IDENTITY_PUBLIC_KEY``.

    Raises:
        Unauthorized: it is malformed, has expired, or somebody else made it.
    """
    identity, expires = _verified(value, public)
    if expires <= (time.time() if now is None else now):
        raise Unauthorized(_NOT_VALID)
    return identity


async def current_identity(request: Request) -> Identity:
    """Return who the gateway says is asking; a FastAPI dependency of internal services.

    Raises:
        Unauthorized: the header is missing or not the gateway's.
    """
    value = request.headers.get(IDENTITY_HEADER)
    if value is None:
        msg = "The request does not say for whom it is made."
        raise Unauthorized(msg)
    public: str | None = request.app.state.settings.secrets.identity_public_key
    if public is None:
        msg = "This service cannot check identities: IDENTITY_PUBLIC_KEY is not set."
        raise AlgoDockError(msg)
    return verify_identity(value, public)


@lru_cache(maxsize=256)
def _verified(value: str, public: str) -> tuple[Identity, int]:
    """Return what a header says and until when; kept, because a signature costs more than the rest of a request."""
    from cryptography.exceptions import InvalidSignature  # late: 8 MB

    try:
        payload_text, signature_text = value.split(".")
        payload = _decode(payload_text)
        _public_key(public).verify(_decode(signature_text), _CONTEXT + payload)
        claims = json.loads(payload)
        identity = Identity(str(claims["key_id"]), str(claims["name"]), tuple(map(str, claims["roles"])))
        return identity, int(claims["exp"])
    except (ValueError, KeyError, TypeError, InvalidSignature) as error:
        raise Unauthorized(_NOT_VALID) from error


@lru_cache(maxsize=4)
def _private_key(text: str) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # late: 8 MB

    return Ed25519PrivateKey.from_private_bytes(_key_bytes(text))


@lru_cache(maxsize=4)
def _public_key(text: str) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # late: 8 MB

    return Ed25519PublicKey.from_public_bytes(_key_bytes(text))


def _key_bytes(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != 32:  # noqa: PLR2004  # the length of every raw Ed25519 key
        msg = "The identity key is not a raw Ed25519 key in base64."
        raise AlgoDockError(msg)
    return raw


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
