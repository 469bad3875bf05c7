# /// script
# requires-python = ">=3.11"
# dependencies = ["cryptography"]
# ///
"""Writes the secrets of docker-compose.yml to a file, once: make_env.py [FILE], default .env."""

import base64
import os
import secrets
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def new_secrets() -> dict[str, str]:
    """Return a value for every variable that docker-compose.yml cannot do without."""
    private = Ed25519PrivateKey.generate()
    return {
        "SECRET_KEY": secrets.token_hex(32),
        "IDENTITY_PRIVATE_KEY": base64.b64encode(private.private_bytes_raw()).decode(),
        "IDENTITY_PUBLIC_KEY": base64.b64encode(private.public_key().public_bytes_raw()).decode(),
        "POSTGRES_PASSWORD": secrets.token_hex(16),
        "REDIS_PASSWORD": secrets.token_hex(16),
        "S3_SECRET_KEY": secrets.token_hex(16),
        "GITEA_SECRET_KEY": secrets.token_hex(32),
        "KAFKA_CLUSTER_ID": secrets.token_urlsafe(16),
    }


def main() -> None:
    """Write the file for its owner alone; one that is there stays as it is."""
    path = Path(sys.argv[1] if len(sys.argv) > 1 else ".env")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        sys.exit(f"{path} is there already; nothing is changed.")
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.writelines(f"{name}={value}\n" for name, value in new_secrets().items())
    sys.stdout.write(f"{path} is written; keep it secret.\n")


if __name__ == "__main__":
    main()
