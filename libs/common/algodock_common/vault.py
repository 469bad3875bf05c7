"""Secrets at rest: AES-256-GCM under a key derived from ``SECRET_KEY``, each bound to the row that it belongs to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from algodock_common.errors import AlgoDockError

if TYPE_CHECKING:
    from uuid import UUID

    from algodock_common.settings import SecretSettings

__all__ = ["Vault", "VaultLocked"]

_NONCE_BYTES = 12


class VaultLocked(AlgoDockError):
    """A stored secret cannot be read: ``SECRET_KEY`` is another than it was written under, or the row was changed."""

    title = "Secret unreadable"
    code = "secret-unreadable"


class Vault:
    """Encrypts and decrypts the secrets of one service's rows."""

    def __init__(self, secrets: SecretSettings, purpose: str) -> None:
        """Derive the key for ``purpose``, such as ``gitea-sync/secrets``; nothing else is kept."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # late: 8 MB

        self._cipher = AESGCM(secrets.derive(purpose))

    def seal(self, secret: str, row: UUID) -> bytes:
        """Return ``secret`` encrypted for ``row``."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret.encode(), row.bytes)

    def open(self, sealed: bytes, row: UUID) -> str:
        """Return the secret that was sealed for ``row``.

        Raises:
            VaultLocked: it was sealed for another row, under another key, or changed since.
        """
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], row.bytes).decode()
        except (InvalidTag, ValueError) as error:
            msg = "a stored secret cannot be read; was SECRET_KEY changed?"
            raise VaultLocked(msg) from error
