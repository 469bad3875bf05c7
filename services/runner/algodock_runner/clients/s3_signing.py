"""AWS Signature Version 4 for one small PUT, made in the event loop: no thread, no SDK.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from algodock_common.settings import ObjectStoreSettings

__all__ = ["signed_put"]


def signed_put(
    settings: ObjectStoreSettings, key: str, body: bytes, content_type: str, *, now: datetime | None = None
) -> tuple[str, dict[str, str]]:
    """Return the path below ``S3_ENDPOINT``, and the headers besides ``host``, that store ``body`` under ``key``."""
    path = quote(f"/{settings.bucket}/{key}", safe="/-_.~")
    moment = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    body_hash = hashlib.sha256(body).hexdigest()
    headers = {
        "content-type": content_type,
        "host": urlsplit(settings.endpoint).netloc,
        "x-amz-content-sha256": body_hash,
        "x-amz-date": moment,
    }
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = f"PUT\n{path}\n\n{lines}\n{names}\n{body_hash}"
    scope = f"{moment[:8]}/{settings.region}/s3/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key_of_day = _signing_key(settings.secret_key.get_secret_value(), moment[:8], settings.region)
    signature = hmac.digest(key_of_day, to_sign.encode(), hashlib.sha256).hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={settings.access_key.get_secret_value()}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    del headers["host"]  # it stands in every head
    return path, headers


@lru_cache(maxsize=4)
def _signing_key(secret: str, day: str, region: str) -> bytes:
    key = b"AWS4" + secret.encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), hashlib.sha256)
    return key
