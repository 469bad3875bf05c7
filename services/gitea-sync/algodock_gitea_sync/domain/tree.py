"""What a commit's tree may hold to become a source bundle: checked here once, for every kind of forge."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from enum import StrEnum

from algodock_gitea_sync.domain.errors import UnsafeTree

__all__ = ["EntryKind", "TreeChecker", "TreeLimits", "check_path"]

_MAX_NAME_BYTES = 255
_MAX_PATH_BYTES = 1024
_MAX_DEPTH = 64
_IGNORED_BY_SOME_FILE_SYSTEMS = frozenset(
    "\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u206a\u206b\u206c\u206d\u206e\u206f\ufeff"
)
"""Code points that HFS+ leaves out when it compares names, so that ``.g<U+200C>it`` is ``.git`` there."""


class EntryKind(StrEnum):
    """What a tree's entry is, told by its mode."""

    FILE = "file"
    PROGRAM = "program"
    FOLDER = "folder"

    @classmethod
    def of(cls, mode: int, path: str) -> EntryKind:
        """Return the kind of the entry with git's ``mode`` at ``path``.

        Raises:
            UnsafeTree: a link, a submodule, or a mode that no source file has.
        """
        match mode:
            case 0o100644 | 0o100664:
                return cls.FILE
            case 0o100755:
                return cls.PROGRAM
            case 0o040000:
                return cls.FOLDER
            case 0o120000:
                raise UnsafeTree(_said(path, "is a symbolic link; links are not taken"))
            case 0o160000:
                raise UnsafeTree(_said(path, "is a submodule; submodules are not taken"))
            case _:
                raise UnsafeTree(_said(path, f"has mode {mode:o}, which is no file's"))


@dataclass(frozen=True, slots=True)
class TreeLimits:
    """How much one commit may hold; sizes in bytes."""

    files: int = 20_000
    file_bytes: int = 500 * 2**20
    total_bytes: int = 1024 * 2**20


@dataclass(slots=True)
class TreeChecker:
    """Takes a tree's entries one by one and refuses the first that breaks a rule."""

    limits: TreeLimits
    files: int = 0
    folders: int = 0
    total_bytes: int = 0
    _seen: dict[str, str] = field(default_factory=dict)

    def entry(self, raw_name: bytes, mode: int, folder: str) -> tuple[str, EntryKind]:
        """Check the name and the mode of an entry of ``folder`` ("" at the top); return its path and its kind.

        Raises:
            UnsafeTree: what is wrong with which path.
        """
        try:
            name = raw_name.decode()
        except UnicodeDecodeError:
            shown = raw_name.decode("utf-8", "backslashreplace")
            raise UnsafeTree(_said(f"{folder}{shown}", "is not UTF-8")) from None
        path = check_path(f"{folder}{name}", name)
        kind = EntryKind.of(mode, path)
        folded = unicodedata.normalize("NFC", path).casefold()
        if (other := self._seen.setdefault(folded, path)) is not path:
            raise UnsafeTree(_said(path, f"and {other!r} are the same name, or differ only in case"))
        if kind is EntryKind.FOLDER:
            self.folders += 1
        else:
            self.files += 1
        if self.files > self.limits.files or self.folders > self.limits.files:
            msg = f"the commit has more than {self.limits.files} files or folders"
            raise UnsafeTree(msg)
        return path, kind

    def size(self, path: str, size: int) -> None:
        """Count the ``size`` in bytes of the file at ``path``, before it is read.

        Raises:
            UnsafeTree: the file, or all files so far, are too large.
        """
        if size > self.limits.file_bytes:
            raise UnsafeTree(_said(path, f"has {size} bytes; at most {self.limits.file_bytes} are taken"))
        self.total_bytes += size
        if self.total_bytes > self.limits.total_bytes:
            msg = f"the commit's files have more than {self.limits.total_bytes} bytes together"
            raise UnsafeTree(msg)


def check_path(path: str, *names: str) -> str:
    """Return ``path`` if it stays in its tree on every file system; ``names`` are those of its parts not yet checked.

    Raises:
        UnsafeTree: what is wrong with it.
    """
    parts = names or tuple(path.split("/"))
    if len(path.encode("utf-8", "surrogatepass")) > _MAX_PATH_BYTES or path.count("/") >= _MAX_DEPTH:
        raise UnsafeTree(_said(path[:120] + "…", f"is longer than {_MAX_PATH_BYTES} bytes or deeper than {_MAX_DEPTH}"))
    for name in parts:
        if why := _unsafe(name):
            raise UnsafeTree(_said(path, why))
    return path


def _unsafe(name: str) -> str | None:  # noqa: PLR0911  # one line a rule
    if name == "":
        return "has an empty name or is absolute"
    if name in {".", ".."}:
        return "leaves its folder"
    if "/" in name or "\\" in name:
        return "has a path separator in a name"
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in name):
        return "has a control character in its name"
    if len(name.encode()) > _MAX_NAME_BYTES:
        return f"has a name of more than {_MAX_NAME_BYTES} bytes"
    if _is_dot_git(name):
        return "is git's own folder under some name"
    return None


def _is_dot_git(name: str) -> bool:
    plain = "".join(c for c in name if c not in _IGNORED_BY_SOME_FILE_SYSTEMS).split(":", 1)[0].rstrip(" .").casefold()
    return plain in {".git", "git~1"}


def _said(path: str, what: str) -> str:
    return f"{path!r} {what}"
