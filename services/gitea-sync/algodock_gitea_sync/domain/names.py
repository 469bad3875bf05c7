"""Names and addresses that come from outside: owners, repositories, branches, commits, clone URLs.

All of them end on a command line or in a path sooner or later, so what is not plainly harmless is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from algodock_common.identifiers import DNS_LABEL
from algodock_gitea_sync.domain.errors import InvalidName

__all__ = ["HEADS", "CloneUrl", "branch_of", "check_branch", "check_commit", "check_full_name", "check_label"]

HEADS = "refs/heads/"

_COMMIT = re.compile(r"^(?:[0-9a-f]{40}|[0-9a-f]{64})$")
_FORGE_SEGMENT = re.compile(r"^[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,99})$")
_HOST = re.compile(r"^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$")
_NOT_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//")
_NOT_IN_URL = re.compile(r"[\x00-\x20\x7f-\xa0\\<>\"'`{}|]")
_MAX_REF_BYTES = 200
_MAX_URL_LENGTH = 2048


def check_label(name: str, what: str) -> str:
    """Return ``name`` if it is a DNS label, as owners and repositories of the built-in forge are.

    Raises:
        InvalidName: it is not; ``what`` says of what in the message.
    """
    if not DNS_LABEL.fullmatch(name):
        msg = f"{what} {name[:80]!r} is not a DNS label (lower-case letters, digits and inner hyphens, at most 63)"
        raise InvalidName(msg)
    return name


def check_full_name(full_name: str) -> tuple[str, str]:
    """Return owner and name of a repository on any forge, from ``owner/name``.

    Raises:
        InvalidName: it has another shape, or a segment that could be read as a path or an option.
    """
    segments = full_name.split("/")
    if len(segments) != 2 or not all(_FORGE_SEGMENT.fullmatch(part) and ".." not in part for part in segments):  # noqa: PLR2004  # owner and name
        msg = f"{full_name[:120]!r} is not a repository's owner/name"
        raise InvalidName(msg)
    return segments[0], segments[1]


def check_branch(branch: str) -> str:
    """Return ``branch`` if git takes it as a branch name and no program could take it for an option.

    The rules are those of git-check-ref-format(1), and stricter: no leading hyphen, at most 200 bytes.

    Raises:
        InvalidName: it breaks a rule.
    """
    encoded = branch.encode("utf-8", "surrogatepass")
    bad = (
        not branch
        or len(encoded) > _MAX_REF_BYTES
        or branch.startswith("-")
        or branch == "@"
        or _NOT_IN_REF.search(branch) is not None
        or not branch.isprintable()
        or branch.endswith("/")
        or any(not part or part.startswith(".") or part.endswith((".", ".lock")) for part in branch.split("/"))
    )
    if bad:
        msg = f"{branch[:80]!r} is not a branch name"
        raise InvalidName(msg)
    return branch


def branch_of(ref: str) -> str | None:
    """Return the branch that ``ref`` names, or None when it is a tag, a note or the like.

    Raises:
        InvalidName: it is below refs/heads/ but no branch name.
    """
    return check_branch(ref.removeprefix(HEADS)) if ref.startswith(HEADS) else None


def check_commit(commit: str) -> str:
    """Return ``commit`` if it is a full object name (SHA-1 or SHA-256, lower-case hex).

    Raises:
        InvalidName: it is abbreviated, a ref, or anything else.
    """
    if not _COMMIT.fullmatch(commit):
        msg = f"{commit[:80]!r} is not a full commit id"
        raise InvalidName(msg)
    return commit


@dataclass(frozen=True, slots=True)
class CloneUrl:
    """A clone URL taken apart; only what these fields hold is ever handed to git."""

    scheme: str
    host: str
    port: int | None
    owner: str
    name: str

    @classmethod
    def parse(cls, url: str) -> CloneUrl:
        """Take apart ``http(s)://host[:port]/owner/name[.git]``.

        Raises:
            InvalidName: another scheme (``file``, ``ext::``, ``ssh``, …), a user or password in it,
                a query, a path that is not owner/name, or characters that no such URL has.
        """
        if len(url) > _MAX_URL_LENGTH or _NOT_IN_URL.search(url) or "::" in url or "%" in url:
            raise _refused(url, "it has characters that a clone URL has not")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise _refused(url, str(error)) from error
        if parts.scheme not in {"http", "https"}:
            raise _refused(url, "only http and https are cloned from")
        if parts.username is not None or parts.password is not None:
            raise _refused(url, "credentials belong in the forge's configuration, not in its URL")
        if parts.query or parts.fragment or "?" in url or "#" in url:
            raise _refused(url, "it has a query or a fragment")
        host = (parts.hostname or "").lower()
        if not _HOST.fullmatch(host):
            raise _refused(url, "its host is not a host name or an IPv4 address")
        path = parts.path.strip("/").removesuffix(".git")
        try:
            owner, name = check_full_name(path)
        except InvalidName as error:
            raise _refused(url, "its path is not /owner/name") from error
        return cls(parts.scheme, host, port, owner, name)

    @property
    def origin(self) -> str:
        """Return scheme, host and port, the port only where it is not the scheme's own."""
        usual = {"http": 80, "https": 443}[self.scheme]
        return f"{self.scheme}://{self.host}" + (f":{self.port}" if self.port not in {None, usual} else "")

    @property
    def full_name(self) -> str:
        """Return owner/name."""
        return f"{self.owner}/{self.name}"

    def __str__(self) -> str:
        """Return the URL as git gets it."""
        return f"{self.origin}/{self.full_name}.git"


def _refused(url: str, why: str) -> InvalidName:
    return InvalidName(f"clone URL {url[:200]!r} is refused: {why}")
