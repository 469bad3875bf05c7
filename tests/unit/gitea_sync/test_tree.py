"""What a commit's tree may hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algodock_gitea_sync.domain.errors import UnsafeTree
from algodock_gitea_sync.domain.tree import EntryKind, TreeChecker, TreeLimits, check_path

FILE, FOLDER = 0o100644, 0o040000


def checker(**limits: int) -> TreeChecker:
    return TreeChecker(TreeLimits(**limits))


@pytest.mark.parametrize("name", ["main.py", "模型.onnx", "a b", "-x", ".gitignore", ".github", "git~2", "é"])
def test_names_that_people_use_are_taken(name: str) -> None:
    assert checker().entry(name.encode(), FILE, "") == (name, EntryKind.FILE)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (b"..", "leaves its folder"),
        (b".", "leaves its folder"),
        (b"", "empty name"),
        (b"/etc", "path separator"),
        (b"a/b", "path separator"),
        (b"a\\b", "path separator"),
        (b".git", "git's own folder"),
        (b".GIT", "git's own folder"),
        (b"GIT~1", "git's own folder"),
        (b".git. ", "git's own folder"),
        (b".git::$INDEX_ALLOCATION", "git's own folder"),
        (".g\u200cit".encode(), "git's own folder"),
        (b"a\nb", "control character"),
        (b"a\x1b[2J", "control character"),
        ("a\u2028b".encode(), "control character"),
        (b"a\x7f", "control character"),
        (b"\xff\xfe", "not UTF-8"),
        (b"x" * 256, "more than 255 bytes"),
    ],
)
def test_names_that_leave_the_tree_or_hide_something_are_refused(name: bytes, why: str) -> None:
    with pytest.raises(UnsafeTree, match=why):
        checker().entry(name, FILE, "")


@pytest.mark.parametrize(
    ("mode", "why"),
    [(0o120000, "symbolic link"), (0o160000, "submodule"), (0o020644, "mode 20644"), (0o010644, "mode"), (0, "mode")],
)
def test_only_files_and_folders_are_taken(mode: int, why: str) -> None:
    with pytest.raises(UnsafeTree, match=why):
        checker().entry(b"x", mode, "")


@pytest.mark.parametrize(
    ("one", "other"), [("A.py", "a.py"), ("stra\u00dfe", "STRASSE"), ("e\u0301", "\u00e9"), ("x", "x")]
)
def test_names_that_meet_on_some_file_system_are_refused(one: str, other: str) -> None:
    tree = checker()
    tree.entry(one.encode(), FILE, "src/")
    tree.entry(other.encode(), FILE, "lib/")
    with pytest.raises(UnsafeTree, match="differ only in case"):
        tree.entry(other.encode(), FILE, "src/")


def test_counts_sizes_and_depth_are_limited() -> None:
    tree = checker(files=2, file_bytes=10, total_bytes=15)
    tree.entry(b"a", FILE, "")
    tree.entry(b"b", FILE, "")
    with pytest.raises(UnsafeTree, match="more than 2 files"):
        tree.entry(b"c", FILE, "")
    tree.size("a", 10)
    with pytest.raises(UnsafeTree, match="11 bytes"):
        tree.size("b", 11)
    with pytest.raises(UnsafeTree, match="more than 15 bytes together"):
        tree.size("b", 6)
    folders = checker(files=2)
    for name in (b"a", b"b"):
        folders.entry(name, FOLDER, "")
    with pytest.raises(UnsafeTree, match="more than 2 files or folders"):
        folders.entry(b"c", FOLDER, "")
    with pytest.raises(UnsafeTree, match="deeper than"):
        checker().entry(b"x", FILE, "a/" * 64)
    with pytest.raises(UnsafeTree, match="longer than"):
        checker().entry(b"x", FILE, ("a" * 200 + "/") * 6)


@given(st.text(max_size=40))
def test_a_path_that_is_taken_stays_below_its_root(path: str) -> None:
    import posixpath

    try:
        check_path(path)
    except UnsafeTree:
        return
    joined = posixpath.normpath(posixpath.join("/root", path))
    assert joined == f"/root/{path}"
