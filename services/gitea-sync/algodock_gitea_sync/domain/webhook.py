"""A webhook as it comes from outside: its headers, its signature over the raw body, its push.

Gitea and Forgejo: https://docs.gitea.com/usage/webhooks; Gogs sends the same under its own names.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from algodock_gitea_sync.domain.errors import InvalidName
from algodock_gitea_sync.domain.names import HEADS, branch_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Delivery", "ForgeFlavour", "is_signed", "sign"]

ForgeFlavour = Literal["algodock", "gitea", "forgejo", "gogs"]

_FLAVOURS: tuple[tuple[ForgeFlavour, str], ...] = (
    ("algodock", "x-algodock"),
    ("forgejo", "x-forgejo"),
    ("gitea", "x-gitea"),
    ("gogs", "x-gogs"),
)
_HUB = "x-hub-signature-256"
_NO_SECRET = b"\0" * 32
_MAX_FIELD = 255


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a webhook says. Nothing of it counts before its signature was verified, and then only as a hint to look."""

    flavour: ForgeFlavour
    delivery_id: str
    event: str
    signatures: tuple[str, ...]
    full_name: str
    ref: str
    before: str
    after: str
    pusher: str

    @classmethod
    def parse(cls, headers: Mapping[str, str], body: bytes) -> Delivery | None:
        """Read a delivery from lower-case ``headers`` and the raw ``body``; None when it is none."""
        flavour, prefix = next(
            ((name, prefix) for name, prefix in _FLAVOURS if f"{prefix}-event" in headers), (None, "")
        )
        if flavour is None:
            return None
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            return None
        if not isinstance(document, dict):
            return None
        given = [headers.get(f"{prefix}-signature", ""), headers.get(_HUB, "").removeprefix("sha256=")]
        pusher = _part(document, "pusher")
        return cls(
            flavour=flavour,
            delivery_id=headers.get(f"{prefix}-delivery", "")[:_MAX_FIELD],
            event=headers[f"{prefix}-event"][:_MAX_FIELD],
            signatures=tuple(signature for signature in given if signature),
            full_name=_text(_part(document, "repository"), "full_name"),
            ref=_text(document, "ref"),
            before=_text(document, "before"),
            after=_text(document, "after"),
            pusher=_text(pusher, "login") or _text(pusher, "username") or _text(pusher, "full_name"),
        )

    def pushed_branch(self) -> tuple[str | None, str]:
        """Return the branch that the delivery tells of, or None and why it tells of none."""
        if self.event != "push":
            return None, f"event {self.event!r} is no push"
        try:
            # Gogs leaves refs/heads/ away in some events
            branch = branch_of(self.ref if self.ref.startswith("refs/") else f"{HEADS}{self.ref}")
        except InvalidName as error:
            return None, error.detail
        if branch is None:
            return None, f"{self.ref} is no branch"
        if not self.after.strip("0"):
            return None, f"branch {branch} was deleted"
        return branch, ""


def sign(body: bytes, secret: bytes) -> str:
    """Return the signature that belongs in ``X-Gitea-Signature``: HMAC-SHA256 of the raw body, bare hex."""
    return hmac.new(secret, body, hashlib.sha256).hexdigest()


def is_signed(delivery: Delivery | None, body: bytes, secret: bytes | None) -> bool:
    """Return whether every signature that ``delivery`` brings is that of ``secret``, and it brings one.

    Takes the same time for an unknown repository (no secret) as for a wrong signature.
    """
    expected = sign(body, secret or _NO_SECRET).encode()
    given = delivery.signatures if delivery else ()
    same = [hmac.compare_digest(expected, signature.encode("utf-8", "replace")) for signature in given]
    return bool(secret) and bool(same) and all(same)


def _part(document: object, key: str) -> object:
    return document.get(key) if isinstance(document, dict) else None


def _text(document: object, key: str) -> str:
    value = _part(document, key)
    return value[:_MAX_FIELD].replace("\0", "") if isinstance(value, str) else ""
