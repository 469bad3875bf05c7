"""A working copy whose pushes go to the platform's forge."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

__all__ = ["ECHO", "Repository"]

ECHO = '''"""Answers what it got, and which version it is."""
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

async def predict(request):
    return JSONResponse({"version": "VERSION", "got": await request.json()})

async def health(request):
    return JSONResponse({"status": "ok"})

app = Starlette(routes=[Route("/predict", predict, methods=["POST"]), Route("/health", health)])
'''

_GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")


class Repository:
    """One repository; ``name`` is the algorithm's."""

    def __init__(self, name: str, folder: Path, clone_url: str, api_key: str) -> None:
        self.name = name
        self.folder = folder
        folder.mkdir()
        scheme, rest = clone_url.split("://", 1)
        self.git("init", "-q", "-b", "main")
        self.git("remote", "add", "origin", f"{scheme}://git:{api_key}@{rest}")

    def commit(self, files: dict[str, str]) -> str:
        """Write and commit files; return the commit."""
        for path, text in files.items():
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "change")
        return self.git("rev-parse", "HEAD").stdout.strip()

    def commit_echo(self, version: str) -> str:
        """Commit the echo, answering with this version."""
        return self.commit({"main.py": ECHO.replace("VERSION", version), "requirements.txt": "starlette\nuvicorn\n"})

    def push(self) -> str:
        """Push what is committed; return what the forge said.

        Raises:
            subprocess.CalledProcessError: it was refused, or the platform was away.
        """
        return self.git("push", "origin", "main").stderr

    def git(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run git in the working copy, asking nobody for a password."""
        environment = os.environ | {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_GLOBAL": os.devnull}
        return subprocess.run(
            [*_GIT, *arguments],
            cwd=self.folder,
            env=environment,
            check=True,
            text=True,
            capture_output=True,
            timeout=120,
        )
