"""Unpacking what strangers packed."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from algodock_deployer.clients.bundles import FolderSource, unpack
from algodock_deployer.domain.errors import SourceRefused

if TYPE_CHECKING:
    from pathlib import Path


def packed(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, mode
    return info


def test_files_and_folders_come_out_with_their_execute_bit_and_no_other(tmp_path: Path) -> None:
    files = packed(
        (member("./a/b.txt"), b"hello"), (member("run.sh", mode=0o6777), b"#!"), (member("d", tarfile.DIRTYPE), b"")
    )
    assert unpack(files, tmp_path / "code") == 3
    assert (tmp_path / "code/a/b.txt").read_bytes() == b"hello"
    assert (tmp_path / "code/run.sh").stat().st_mode & 0o7777 == 0o755
    assert FolderSource(tmp_path / "code").top() == ["a", "d", "run.sh"]


HOSTILE = {
    "symlink": [(member("evil", tarfile.SYMTYPE, "/etc/passwd"), b"")],
    "hard link": [(member("evil", tarfile.LNKTYPE, "/etc/passwd"), b"")],
    "device": [(member("null", tarfile.CHRTYPE), b"")],
    "pipe": [(member("pipe", tarfile.FIFOTYPE), b"")],
    "parent": [(member("../evil"), b"x")],
    "parent inside": [(member("a/../../evil"), b"x")],
    "absolute": [(member("/etc/evil"), b"x")],
    "backslash": [(member("a\\..\\evil"), b"x")],
    "control": [(member("a\nb"), b"x")],
    "twice": [(member("a"), b"1"), (member("a"), b"2")],
    "file as folder": [(member("a"), b"1"), (member("a/b"), b"2")],
    "long name": [(member("x" * 300), b"1")],
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_member_is_refused_and_nothing_is_left(tmp_path: Path, what: str) -> None:
    with pytest.raises(SourceRefused):
        unpack(packed((member("good.py"), b"1"), *HOSTILE[what]), tmp_path / "code")
    assert list(tmp_path.iterdir()) == []


def test_too_much_is_refused(tmp_path: Path) -> None:
    many = packed(*((member(f"f{n}"), b"") for n in range(5)))
    with pytest.raises(SourceRefused, match="more than 4 files"):
        unpack(many, tmp_path / "code", max_files=4)
    with pytest.raises(SourceRefused, match="larger than 10 bytes"):
        unpack(packed((member("big"), b"x" * 11)), tmp_path / "code", max_bytes=10)


@pytest.mark.parametrize(
    "content", [b"", b"no archive", packed((member("a"), b"x" * 1000))[:-40]], ids=["empty", "none", "cut off"]
)
def test_what_is_no_whole_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(SourceRefused, match="cannot be read"):
        unpack(content, tmp_path / "code")
