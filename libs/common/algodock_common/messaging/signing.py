"""The HMAC that internal topics carry: algorithms share the loopback with the broker."""

from __future__ import annotations

import hashlib
import hmac

__all__ = ["SIGNATURE_HEADER", "Signer"]

SIGNATURE_HEADER = "algodock-signature"


class Signer:
    """Signs and checks the values of internal topics with HMAC-SHA256 over topic and value."""

    def __init__(self, key: bytes) -> None:
        """Take the key; all services derive the same one from ``SECRET_KEY``."""
        self._key = key

    def sign(self, topic: str, value: bytes) -> str:
        """Return the signature as hex; the topic is part of it, so a message cannot be replayed elsewhere."""
        return hmac.digest(self._key, topic.encode() + b"\0" + value, hashlib.sha256).hex()

    def valid(self, topic: str, value: bytes, signature: str | None) -> bool:
        """Return whether ``signature`` is that of ``value`` on ``topic``, in constant time."""
        return hmac.compare_digest(self.sign(topic, value), signature or "")
