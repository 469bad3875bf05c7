"""The random secrets of one data folder: made once, kept in one file that only its owner reads."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

from algodock_cli.stack.programs import write_private

__all__ = ["Secrets"]


@dataclass(frozen=True)
class Secrets:
    """What services and servers of one data folder know each other by."""

    secret_key: str = field(repr=False)
    postgres_password: str = field(repr=False)
    redis_password: str = field(repr=False)
    s3_access_key: str = field(repr=False)
    s3_secret_key: str = field(repr=False)
    identity_private_key: str = field(repr=False)
    identity_public_key: str

    @classmethod
    def load_or_make(cls, path: Path) -> Secrets:
        """Return the secrets kept in the file, after making it (mode 0600) where there is none."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            made = cls._make()
            write_private(path, json.dumps(asdict(made), indent=1))
            return made

    @classmethod
    def _make(cls) -> Secrets:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # 60 ms, once

        key = Ed25519PrivateKey.generate()
        return cls(
            secret_key=secrets.token_hex(32),
            postgres_password=secrets.token_hex(24),
            redis_password=secrets.token_hex(24),
            s3_access_key=f"algodock{secrets.token_hex(6)}",
            s3_secret_key=secrets.token_hex(24),
            identity_private_key=base64.b64encode(key.private_bytes_raw()).decode(),
            identity_public_key=base64.b64encode(key.public_key().public_bytes_raw()).decode(),
        )
