"""Bundles out of real object databases, trees among them that git itself would not make."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from algodock_gitea_sync.clients.bundle import Bundle, Bundler
from algodock_gitea_sync.clients.git import Git, GitFailed
from algodock_gitea_sync.domain.tree import TreeLimits

GIT = shutil.which("git") or "git"


class Repo:
    """A bare repository filled object by object."""

    def __init__(self, folder: Path) -> None:
        self.dir = folder
        folder.mkdir()
        self.run("init", "-q", "--bare")

    def run(self, *args: str, stdin: bytes = b"") -> str:
        done = subprocess.run([GIT, *args], cwd=self.dir, input=stdin, capture_output=True, check=True)
        return done.stdout.decode().strip()

    def object(self, kind: str, content: bytes) -> str:
        return self.run("hash-object", "-w", "--literally", "-t", kind, "--stdin", stdin=content)

    def blob(self, content: bytes) -> str:
        return self.object("blob", content)

    def tree(self, *entries: tuple[str, bytes, str]) -> str:
        return self.object("tree", b"".join(m.encode() + b" " + n + b"\0" + bytes.fromhex(i) for m, n, i in entries))

    def commit(self, tree: str, message: bytes = b"Subject\n\nbody\n") -> str:
        who = b"Ada <ada@example.com> 1700000000 +0100"
        return self.object("commit", b"tree %s\nauthor %s\ncommitter %s\n\n%s" % (tree.encode(), who, who, message))


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo(tmp_path / "repo.git")


async def bundled(repo: Repo, commit: str, folder: Path, **limits: int) -> Bundle:
    git = Git(folder / "home", 1_000_000)
    await git.prepare()
    return await Bundler(git, folder / "bundles", TreeLimits(**limits)).make(repo.dir, commit)


async def test_a_bundle_holds_exactly_the_commits_files(repo: Repo, tmp_path: Path) -> None:
    inner = repo.tree(("100644", b"eins.json", repo.blob(b"{}")))
    attributes = repo.blob(b"main.py export-ignore\n*.py export-subst ident text eol=crlf\n")
    tree = repo.tree(
        ("100644", b".gitattributes", attributes),
        ("100644", b"empty", repo.blob(b"")),
        ("100644", b"main.py", repo.blob(b"$Format:%H$ $Id$\n")),
        ("100755", b"run.sh", repo.blob(b"#!/bin/sh\n")),
        ("40000", "sämples".encode(), inner),
    )
    bundle = await bundled(repo, repo.commit(tree), tmp_path)
    assert bundle.problem is None
    assert (bundle.commit.message, bundle.commit.author, bundle.commit.parent) == ("Subject", "Ada", None)
    assert bundle.path is not None
    with tarfile.open(bundle.path) as archive:
        members = {m.name: (m.mode, m.size, m.mtime, m.uid, m.uname) for m in archive}
        content = archive.extractfile("main.py")
        assert content is not None
        assert content.read() == b"$Format:%H$ $Id$\n"
    assert list(members) == [".gitattributes", "empty", "main.py", "run.sh", "sämples", "sämples/eins.json"]
    assert members["run.sh"] == (0o755, 10, 1_700_000_000, 0, "")
    assert members["main.py"][0] == 0o644


async def test_the_same_commit_gives_the_same_bytes(repo: Repo, tmp_path: Path) -> None:
    commit = repo.commit(repo.tree(("100644", b"main.py", repo.blob(b"x = 1\n"))))
    first, second = await bundled(repo, commit, tmp_path), await bundled(repo, commit, tmp_path)
    assert first.path is not None
    assert second.path is not None
    assert first.path != second.path
    assert first.path.read_bytes() == second.path.read_bytes()
    assert gzip.decompress(first.path.read_bytes())


@pytest.mark.parametrize(
    ("mode", "name", "problem"),
    [
        ("100644", b"..", "leaves its folder"),
        ("40000", b"..", "leaves its folder"),
        ("100644", b"/etc/passwd", "path separator"),
        ("40000", b".git", "git's own folder"),
        ("120000", b"link", "symbolic link"),
        ("160000", b"module", "submodule"),
        ("100644", b"a\nb", "control character"),
        ("644", b"odd", "mode 644"),
    ],
)
async def test_a_hostile_tree_is_a_problem_and_leaves_no_file(
    repo: Repo, tmp_path: Path, mode: str, name: bytes, problem: str
) -> None:
    inner = repo.tree(("100644", b"x", repo.blob(b"x"))) if mode == "40000" else repo.blob(b"/etc/passwd")
    bundle = await bundled(repo, repo.commit(repo.tree((mode, name, inner))), tmp_path)
    assert problem in (bundle.problem or "")
    assert bundle.path is None
    assert list((tmp_path / "bundles").iterdir()) == []


async def test_a_tree_that_multiplies_itself_is_cut_off(repo: Repo, tmp_path: Path) -> None:
    """A few small objects that would unfold to ten million files."""
    tree = repo.tree(("100644", b"x", repo.blob(b"x")))
    for _ in range(7):
        tree = repo.tree(*((("40000", b"%d" % n, tree)) for n in range(10)))
    bundle = await bundled(repo, repo.commit(tree), tmp_path, files=1000)
    assert "more than 1000 files" in (bundle.problem or "")


async def test_sizes_are_checked_before_contents_are_read(repo: Repo, tmp_path: Path) -> None:
    commit = repo.commit(repo.tree(("100644", b"big", repo.blob(b"\0" * 5_000_000))))
    assert "5000000 bytes" in ((await bundled(repo, commit, tmp_path, file_bytes=1000)).problem or "")
    assert "together" in ((await bundled(repo, commit, tmp_path, total_bytes=1000)).problem or "")


async def test_an_empty_commit_is_a_problem(repo: Repo, tmp_path: Path) -> None:
    bundle = await bundled(repo, repo.commit(repo.tree()), tmp_path)
    assert "no files" in (bundle.problem or "")


async def test_a_commit_that_is_not_there_is_an_error(repo: Repo, tmp_path: Path) -> None:
    with pytest.raises(GitFailed, match="no commit"):
        await bundled(repo, "1" * 40, tmp_path)


async def test_gits_environment_has_nothing_of_the_platforms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "s" * 40)
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    git = Git(tmp_path / "home", 1_000_000)
    await git.prepare()
    assert not {"SECRET_KEY", "GIT_DIR"} & set(git.environment(outside=True))
    assert git.environment()["GIT_ALLOW_PROTOCOL"] == ""
    assert (await git.run("config", "--get", "receive.maxInputSize")).strip() == b"1000000"
