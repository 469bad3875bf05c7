"""Pushes a folder to the platform's forge: its own repository as it is, any other folder as a snapshot."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

from algodock_cli.client.access import Access, is_loopback
from algodock_cli.failures import CommandFailed

__all__ = ["BRANCH", "GitMissing", "Push", "PushFailed", "Source", "git_program"]

BRANCH = "main"
_NEVER = ("__pycache__/", "*.pyc", ".venv/", "node_modules/", ".git/", ".DS_Store", ".pytest_cache/", ".mypy_cache/")
"""What a snapshot leaves out where no repository says what to ignore."""


class PushFailed(CommandFailed):
    """git said no; the message ends with what it said."""


class GitMissing(CommandFailed):
    """There is no git on this machine."""

    exit_code = 4


def git_program() -> str:
    """Return where git is.

    Raises:
        GitMissing: nowhere.
    """
    found = shutil.which("git")
    if found is None:
        raise GitMissing("git is not on this machine\n  next: install git")
    return found


@dataclass
class Source:
    """A commit of ``folder`` that is ready to be pushed to ``clone_url``."""

    folder: Path
    clone_url: str
    access: Access
    commit: str = ""
    unchanged: bool = False
    own_repository: bool = False
    uncommitted: bool = False
    _author_known: bool = True
    _git_dir: Path | None = None
    _open: ExitStack = field(default_factory=ExitStack)

    @classmethod
    def of(cls, folder: Path, clone_url: str, access: Access, *, message: str = "") -> Self:
        """Take the folder's head, or make a commit of what lies in it on top of what the forge has.

        Raises:
            GitMissing: there is no git.
            PushFailed: git could not read the folder or the forge.
        """
        source = cls(folder.resolve(), clone_url, access)
        try:
            source._take(message)
        except BaseException:
            source.close()
            raise
        return source

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove what was made for the push."""
        self._open.close()

    def push(self, *, force: bool = False) -> Push:
        """Begin to push; the result is waited for with ``Push.finish``."""
        arguments = [
            "push",
            *(["--force"] if force else []),
            self.clone_url,
            f"{self.commit}:refs/heads/{BRANCH}",
        ]
        # To a file, not a pipe: nobody reads while the release is followed, and a full pipe would stop the hook.
        said = tempfile.TemporaryFile()  # noqa: SIM115  (closed by the push)
        return Push(subprocess.Popen(self._command(arguments), env=self._environment(), stdout=said, stderr=said), said)

    def _take(self, message: str) -> None:
        self._author_known = self._knows_the_author()
        self.own_repository = (self.folder / ".git").exists()
        if self.own_repository:
            try:
                self.commit = self._git("rev-parse", "--verify", "HEAD^{commit}").strip()
            except PushFailed as failed:
                raise PushFailed(f"{self.folder} is a repository without a commit\n  next: commit first") from failed
            self.uncommitted = bool(self._git("status", "--porcelain").strip())
            self.unchanged = self._remote_head() == self.commit
            return
        self._git_dir = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="algodock-push-"))) / "git"
        self._git("init", "-q", "-b", BRANCH)
        (self._git_dir / "info").mkdir(exist_ok=True)
        (self._git_dir / "info" / "exclude").write_text("\n".join(_NEVER) + "\n", "utf-8")
        listed = self._files_of_enclosing_repository()
        if listed is None:
            self._git("add", "--all", ".")
        else:
            self._git("add", "--force", "--pathspec-from-file=-", "--pathspec-file-nul", stdin=listed)
        tree = self._git("write-tree").strip()
        parent = self._remote_head()
        if parent:
            self._git("fetch", "-q", "--depth=1", self.clone_url, f"refs/heads/{BRANCH}")
            self.unchanged = self._git("rev-parse", f"{parent}^{{tree}}").strip() == tree
        parents = ["-p", parent] if parent else []
        self.commit = self._git("commit-tree", tree, *parents, "-m", message or f"Deploy {self.folder.name}").strip()

    def _knows_the_author(self) -> bool:
        """Tell whether git is configured with a name and an address to sign commits with."""
        try:
            return len(self._git("config", "--name-only", "--get-regexp", r"^user\.(name|email)$").split()) > 1
        except PushFailed:  # git's way to say that there is no such key
            return False

    def _remote_head(self) -> str | None:
        heads = self._git("ls-remote", self.clone_url, f"refs/heads/{BRANCH}").split()
        return heads[0] if heads else None

    def _files_of_enclosing_repository(self) -> str | None:
        """Return what the repository around the folder would track, NUL-separated; None where there is none."""
        run = subprocess.run(
            [git_program(), "-C", str(self.folder), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode != 0:
            return None
        # The index also names what was deleted since; links are kept, so that the forge can say what it thinks of them.
        there = (name for name in run.stdout.split("\0") if name)
        found = [name for name in there if (path := self.folder / name).is_symlink() or path.is_file()]
        return "\0".join(f":(literal){name}" for name in found) or None

    def _command(self, arguments: list[str]) -> list[str]:
        where = [] if self._git_dir is None else [f"--git-dir={self._git_dir}", f"--work-tree={self.folder}"]
        return [git_program(), "-C", str(self.folder), *where, *arguments]

    def _git(self, *arguments: str, stdin: str = "") -> str:
        run = subprocess.run(
            self._command(list(arguments)),
            env=self._environment(),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode != 0:
            raise PushFailed(f"git {arguments[0]} failed in {self.folder}\n  why:  {run.stderr.strip()}")
        return run.stdout

    def _environment(self) -> Mapping[str, str]:
        """Return git's environment: the key as a header (arguments can be read by others), nothing that asks."""
        basic = base64.b64encode(f"algodock:{self.access.key}".encode()).decode()
        config = {f"http.{self.access.url}/.extraHeader": f"Authorization: Basic {basic}", "credential.helper": ""}
        if is_loopback(self.access.url):
            config[f"http.{self.access.url}/.proxy"] = ""
        environment = dict(os.environ)
        before = int(environment.get("GIT_CONFIG_COUNT") or 0)
        for number, (key, value) in enumerate(config.items(), before):
            environment[f"GIT_CONFIG_KEY_{number}"] = key
            environment[f"GIT_CONFIG_VALUE_{number}"] = value
        environment["GIT_CONFIG_COUNT"] = str(before + len(config))
        environment["GIT_TERMINAL_PROMPT"] = "0"
        for role in () if self._author_known else ("AUTHOR", "COMMITTER"):
            environment.setdefault(f"GIT_{role}_NAME", "algodock")
            environment.setdefault(f"GIT_{role}_EMAIL", "algodock@localhost")
        for inherited in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
            environment.pop(inherited, None)  # set when this runs inside a git hook
        return environment


@dataclass
class Push:
    """A ``git push`` under way."""

    process: subprocess.Popen[bytes]
    _said: IO[bytes]

    def running(self) -> bool:
        """Tell whether git still works."""
        return self.process.poll() is None

    def check(self) -> None:
        """Raise when git has ended badly.

        Raises:
            PushFailed: with what git and the forge said.
        """
        if self.process.poll():
            raise PushFailed(f"the push was not taken\n  why:  {self.said()}")

    def finish(self, timeout_s: float) -> None:
        """Wait for git's end; errors as ``check``."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.terminate()
            self.process.wait()
            raise PushFailed(f"the push did not end within {timeout_s:.0f} s\n  why:  {self.said()}") from None
        self.check()

    def said(self) -> str:
        """Return what git and the forge printed so far; of a line that was written over, its last state."""
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").split("\n")
        return "\n        ".join(line.rstrip().rpartition("\r")[2] for line in lines if line.strip())
