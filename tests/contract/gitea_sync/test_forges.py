"""One contract for every forge: the built-in one, Gitea, and a git server that is only read."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from algodock_common.identifiers import uuid7
from algodock_gitea_sync.clients.builtin import BuiltinForge
from algodock_gitea_sync.clients.bundle import Bundler
from algodock_gitea_sync.clients.fake_gitea import FakeGitea
from algodock_gitea_sync.clients.forge import Forge, HeadMoved, Upload, UploadFile
from algodock_gitea_sync.clients.git import Git, GitFailed
from algodock_gitea_sync.clients.gitea import GiteaApi, GiteaForge
from algodock_gitea_sync.clients.remote import GitRemote
from algodock_gitea_sync.domain.errors import ForgeFailed, ForgeUnavailable, InvalidName, UnsafeTree, UploadConflict
from algodock_gitea_sync.domain.names import check_commit
from algodock_gitea_sync.domain.repository import ForgeKind, Repository
from algodock_gitea_sync.domain.tree import TreeLimits

GIT = shutil.which("git") or "git"
HOOK = "http://gateway.test/api/v1/gitea/webhook"


@dataclass
class Case:
    """A forge, and a way to put commits on it that does not go through the forge's own code."""

    forge: Forge
    git: Git
    folder: Path
    fake: FakeGitea | None = None

    async def repository(self) -> Repository:
        created = await self.forge.create("echo")
        return Repository(
            uuid7(), uuid7(), "echo", ForgeKind.BUILTIN, created.full_name, created.clone_url, created.branch
        )

    def commit(self, repository: Repository, text: str, branch: str = "main", *, force: bool = False) -> str:
        git_dir = self.git_dir(repository)
        has = not force and run_git(git_dir, "for-each-ref", f"refs/heads/{branch}")
        stream = f"commit refs/heads/{branch}\ncommitter A <a@b> 1 +0000\ndata 1\nx\n"
        stream += (f"from refs/heads/{branch}^0\n" if has else "") + "deleteall\n"
        stream += f"M 100644 inline main.py\ndata {len(text)}\n{text}\n"
        run_git(git_dir, "fast-import", "--quiet", *(["--force"] if force else []), stdin=stream.encode())
        return run_git(git_dir, "rev-parse", branch)

    def git_dir(self, repository: Repository) -> Path:
        return (self.fake.root if self.fake else self.folder) / f"{repository.full_name}.git"


def run_git(git_dir: Path, *arguments: str, stdin: bytes = b"", env: dict[str, str] | None = None) -> str:
    """Run git beside the code under test."""
    command = [GIT, f"--git-dir={git_dir}", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, check=True, env={**os.environ, **(env or {})})
    return done.stdout.decode().strip()


def remote_of(git: Git, folder: Path, fake: FakeGitea) -> GitRemote:
    return GitRemote(git, folder / "mirrors", frozenset({fake.url}), 30, token=fake.token, token_origin=fake.url)


@pytest.fixture
async def git(tmp_path: Path) -> Git:
    made = Git(tmp_path / "forge", 10_000_000)
    await made.prepare()
    return made


@pytest.fixture(params=["builtin", "gitea"])
async def case(request: pytest.FixtureRequest, tmp_path: Path, git: Git) -> AsyncIterator[Case]:
    if request.param == "builtin":
        yield Case(BuiltinForge(git, tmp_path / "git", "http://gateway.test"), git, tmp_path / "git")
        return
    fake = FakeGitea(tmp_path / "gitea")
    api = GiteaApi(fake.url, fake.token, timeout_s=5)
    yield Case(GiteaForge(api, remote_of(git, tmp_path, fake), "team", "algo-", HOOK), git, tmp_path, fake)
    await api.close()
    fake.close()


async def test_a_repository_is_made_once_and_has_no_branch(case: Case) -> None:
    first, second = await case.forge.create("echo"), await case.forge.create("echo")
    assert first == second
    assert first.clone_url.endswith(f"{first.full_name}.git")
    repository = await case.repository()
    assert await case.forge.head(repository) is None
    assert await case.forge.branches(repository) == []


async def test_the_head_is_what_the_branch_points_to(case: Case) -> None:
    repository = await case.repository()
    first = case.commit(repository, "1")
    assert await case.forge.head(repository) == first
    other = case.commit(repository, "2", "feature/x.y")
    assert await case.forge.head(replace(repository, branch="feature/x.y")) == other
    assert await case.forge.branches(repository) == ["feature/x.y", "main"]
    forced = case.commit(repository, "3", force=True)
    assert await case.forge.head(repository) == forced != first


async def test_a_packed_head_is_found(case: Case) -> None:
    repository = await case.repository()
    commit = case.commit(repository, "1")
    run_git(case.git_dir(repository), "pack-refs", "--all")
    assert not (case.git_dir(repository) / "refs/heads/main").exists()
    assert await case.forge.head(repository) == commit


async def test_the_heads_objects_become_a_bundle(case: Case, tmp_path: Path) -> None:
    repository = await case.repository()
    for text in ("1", "2"):  # the second time the mirror is there already
        commit = case.commit(repository, text)
        objects = await case.forge.objects(repository, commit)
        bundle = await Bundler(case.git, tmp_path / "b", TreeLimits()).make(objects, commit)
        assert (bundle.files, bundle.problem, bundle.commit.id) == (1, None, commit)


async def test_uploads_become_one_commit_over_what_is_there_or_instead_of_it(case: Case) -> None:
    repository = await case.repository()

    def files(**named: bytes) -> list[UploadFile]:
        return [UploadFile(n.replace("__", "."), io.BytesIO(c), len(c)) for n, c in named.items()]

    async def content(commit: str) -> list[str]:
        objects = await case.forge.objects(repository, commit)
        out = await case.git.run(f"--git-dir={objects}", "ls-tree", "-r", "--name-only", commit)
        return out.decode().split()

    first = await case.forge.commit_files(repository, Upload(files(a__py=b"1", b__py=b"2"), "ada", "one"))
    assert check_commit(first) == await case.forge.head(repository)
    second = await case.forge.commit_files(repository, Upload(files(b__py=b"3", c__py=b"4"), "ada", "two"))
    assert await content(second) == ["a.py", "b.py", "c.py"]
    third = await case.forge.commit_files(repository, Upload(files(c__py=b"5"), "ada", "three", replace=True))
    assert await content(third) == ["c.py"]


async def test_watching_again_changes_the_secret_and_adds_no_second_hook(case: Case) -> None:
    repository = await case.repository()
    await case.forge.watch(repository, "one")
    await case.forge.watch(repository, "two")
    if case.fake is not None:
        (hook,) = case.fake.hooks[repository.full_name]
        assert (hook["config"]["secret"], hook["config"]["url"], hook["events"]) == ("two", HOOK, ["push"])
        assert hook["config"]["content_type"] == "json"


async def test_the_builtin_forge_knows_its_own_urls_from_outside_and_inside(tmp_path: Path, git: Git) -> None:
    forge = BuiltinForge(git, tmp_path / "git", "https://dock.test", "http://127.0.0.1:8010")
    assert forge.named_by("https://dock.test/git/algodock/x.git") == "algodock/x"
    assert forge.named_by("http://127.0.0.1:8010/git/algodock/x/") == "algodock/x"
    assert forge.named_by("https://dock.test.example.com/git/algodock/x.git") is None
    assert forge.clone_url("algodock/x") == "https://dock.test/git/algodock/x.git"
    with pytest.raises(InvalidName):
        forge.named_by("https://dock.test/git/../x.git")


async def test_the_builtin_forge_says_when_a_branch_moved_under_an_upload(tmp_path: Path, git: Git) -> None:
    forge = BuiltinForge(git, tmp_path / "git", "http://gateway.test")
    case = Case(forge, git, tmp_path / "git")
    repository = await case.repository()
    case.commit(repository, "1")

    class Moving(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            if data:
                case.commit(repository, "meanwhile")
            return data

    with pytest.raises(UploadConflict):
        await forge.commit_files(repository, Upload([UploadFile("a.py", Moving(b"1"), 1)], "ada", "x"))


@pytest.fixture
async def plain(tmp_path: Path, git: Git) -> AsyncIterator[tuple[GitRemote, Repository, FakeGitea]]:
    fake = FakeGitea(tmp_path / "gitea")
    url = fake.create("team/echo")
    yield (
        remote_of(git, tmp_path, fake),
        Repository(uuid7(), uuid7(), "echo", ForgeKind.GIT, "team/echo", url, "main"),
        fake,
    )
    fake.close()


async def test_a_plain_git_server_is_read_by_git(plain: tuple[GitRemote, Repository, FakeGitea]) -> None:
    remote, repository, fake = plain
    assert await remote.head(repository) is None
    commit = fake.commit("team/echo", {"main.py": b"x"})
    assert await remote.head(repository) == commit
    assert await remote.branches(repository) == ["main"]
    assert (await remote.objects(repository, commit) / "HEAD").exists()


async def test_a_head_that_moved_before_it_was_fetched_is_looked_at_again(
    plain: tuple[GitRemote, Repository, FakeGitea],
) -> None:
    remote, repository, fake = plain
    first = fake.commit("team/echo", {"main.py": b"x"})
    fake.commit("team/echo", {"main.py": b"y"})
    with pytest.raises(HeadMoved):
        await remote.objects(repository, first)


async def test_the_token_goes_to_its_own_server_only_and_never_on_a_command_line(
    plain: tuple[GitRemote, Repository, FakeGitea], tmp_path: Path
) -> None:
    remote, repository, fake = plain
    fake.commit("team/echo", {"main.py": b"x"})
    elsewhere = replace(remote, token_origin="http://other.test")
    with pytest.raises((ForgeUnavailable, ForgeFailed)):
        await elsewhere.head(repository)
    log = tmp_path / "trace"
    program = tmp_path / "git"
    program.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec {remote.git.program} "$@"\n')
    program.chmod(0o755)
    remote.git.program = str(program)
    assert await remote.head(repository)
    assert fake.token not in log.read_text()
    assert "Basic" not in log.read_text()


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc",
        "ext::sh -c touch% /tmp/owned",
        "--upload-pack=touch /tmp/owned",
        "http://user:password@127.0.0.1/team/echo",
        "ssh://git@127.0.0.1/team/echo",
        "file://127.0.0.1/team/echo",
        "ext://127.0.0.1/team/echo",
    ],
)
async def test_urls_that_are_no_clone_urls_never_reach_git(
    plain: tuple[GitRemote, Repository, FakeGitea], url: str
) -> None:
    remote, repository, _ = plain
    with pytest.raises(InvalidName):
        await remote.head(replace(repository, clone_url=url))


async def test_a_server_that_is_not_allowed_is_not_spoken_to(plain: tuple[GitRemote, Repository, FakeGitea]) -> None:
    remote, repository, _ = plain
    with pytest.raises(ForgeFailed, match="not among the git servers"):
        await replace(remote, origins=frozenset()).head(repository)


@pytest.mark.parametrize("branch", ["--upload-pack=touch /tmp/owned", "--upload-pack=reboot"])
async def test_a_branch_that_looks_like_an_option_never_reaches_git(
    plain: tuple[GitRemote, Repository, FakeGitea], branch: str
) -> None:
    remote, repository, _ = plain
    with pytest.raises(InvalidName):
        await remote.objects(replace(repository, branch=branch), "0" * 40)
    with pytest.raises(InvalidName):
        await remote.head(replace(repository, branch=branch))


async def test_git_itself_would_refuse_other_protocols(git: Git, tmp_path: Path) -> None:
    """The second lock: what slipped through every check is still not run by git."""
    run_git(tmp_path / "x", "init", "-q", "--bare")
    for url in (f"file://{tmp_path}/x", f"ext::sh -c 'touch {tmp_path}/owned'", str(tmp_path / "x")):
        with pytest.raises(GitFailed, match="not allowed"):
            await git.run("ls-remote", "--", url, outside=True)
    assert not (tmp_path / "owned").exists()


async def test_objects_that_git_distrusts_become_a_problem_not_a_retry(
    plain: tuple[GitRemote, Repository, FakeGitea],
) -> None:
    remote, repository, fake = plain
    folder = fake.folder("team/echo")

    def made(kind: str, content: bytes) -> str:
        return run_git(folder, "hash-object", "-w", "--literally", "-t", kind, "--stdin", stdin=content)

    tree = made("tree", b"100644 ..\0" + bytes.fromhex(made("blob", b"x")))
    names = ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL")
    commit = run_git(folder, "commit-tree", "-m", "evil", tree, env=dict.fromkeys(names, "x"))
    run_git(folder, "update-ref", "refs/heads/main", commit)
    with pytest.raises(UnsafeTree, match="fsck"):
        await remote.objects(repository, commit)


async def test_gitea_that_is_away_or_refuses_is_told_apart(tmp_path: Path) -> None:
    fake = FakeGitea(tmp_path / "gitea")
    wrong = GiteaApi(fake.url, "another", timeout_s=5)
    with pytest.raises(ForgeFailed, match="401"):
        await wrong.login()
    assert await wrong.version() == "1.24.0"
    fake.close()
    with pytest.raises(ForgeUnavailable):
        await wrong.version()
    await wrong.close()
