"""A Gitea for tests: the part of its published API (version 1) that is used, its webhooks, and git over HTTP.

Answers, statuses and headers are those of https://docs.gitea.com/api; what it does not know is 404.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import subprocess
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit
from urllib.request import Request, urlopen

__all__ = ["FakeGitea"]

Answer: TypeAlias = tuple[int, Any]
_REPO = re.compile(r"/api/v1/repos/([^/]+)/([^/]+)(/.*)?")
_GIT = re.compile(r"/([^/]+)/([^/]+)\.git/(info/refs|git-upload-pack|git-receive-pack)")


@dataclass
class FakeGitea:
    """One user, one organisation; bare repositories below ``root``."""

    root: Path
    token: str = "fake-token"  # noqa: S105  # opens nothing
    user: str = "robot"
    organisation: str = "team"
    hooks: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Listen on a free port."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def folder(self, full_name: str) -> Path:
        """Return where a repository lies."""
        return self.root / f"{full_name}.git"

    def create(self, full_name: str) -> str:
        """Make an empty repository and return its clone URL."""
        self.folder(full_name).mkdir(parents=True)
        self.git(full_name, "init", "--quiet", "--bare", "--initial-branch=main", ".")
        self.hooks[full_name] = []
        return f"{self.url}/{full_name}.git"

    def commit(self, full_name: str, files: dict[str, bytes], branch: str = "main", message: str = "change") -> str:
        """Put files on a branch as one commit and return it."""
        parent = self.head(full_name, branch)
        lines = [f"commit refs/heads/{branch}", "committer Ada <ada@example.com> now", f"data {len(message)}", message]
        stream = "".join(f"{line}\n" for line in [*lines, *([f"from {parent}"] if parent else [])]).encode()
        for path, content in files.items():
            stream += f"M 100644 inline {path}\ndata {len(content)}\n".encode() + content + b"\n"
        self.git(full_name, "fast-import", "--quiet", "--date-format=now", stdin=stream)
        return self.head(full_name, branch)

    def head(self, full_name: str, branch: str) -> str:
        """Return a branch's head, "" without one."""
        return self.git(full_name, "for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}").strip()

    def deliver(self, full_name: str, before: str, after: str, branch: str = "main") -> list[int]:
        """Send the push webhook to every hook of a repository, as Gitea does; return the statuses."""
        statuses = []
        for hook in self.hooks[full_name]:
            document = {
                "ref": f"refs/heads/{branch}",
                "before": before or "0" * 40,
                "after": after,
                "repository": {"full_name": full_name},
                "pusher": {"login": "ada", "username": "ada"},
            }
            body = json.dumps(document).encode()
            signature = hmac.new(hook["config"]["secret"].encode(), body, hashlib.sha256).hexdigest()
            headers = {
                "Content-Type": "application/json",
                "X-Gitea-Delivery": after[:8],
                "X-Gitea-Event": "push",
                "X-Gitea-Signature": signature,
                "X-Gogs-Event": "push",
                "X-Gogs-Signature": signature,
                "X-Hub-Signature-256": f"sha256={signature}",
            }
            with urlopen(Request(hook["config"]["url"], body, headers), timeout=10) as answer:  # noqa: S310  # a test's own
                statuses.append(answer.status)
        return statuses

    def git(self, full_name: str, *arguments: str, stdin: bytes = b"") -> str:
        """Run git in a repository."""
        done = subprocess.run(  # git, in a test
            ["git", *arguments],  # noqa: S607
            cwd=self.folder(full_name),
            input=stdin,
            capture_output=True,
            check=True,
        )
        return done.stdout.decode()

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:  # one line a route
        """Answer one call of the API."""
        self.calls.append((method, path))
        if (method, path) == ("GET", "/api/v1/version"):
            return 200, {"version": "1.24.0"}
        if (method, path) == ("GET", "/api/v1/user"):
            return 200, {"id": 1, "login": self.user}
        if (method, path) == ("POST", "/api/v1/user/repos"):
            return self._make(f"{self.user}/{body['name']}")
        if (method, path) == ("POST", f"/api/v1/orgs/{self.organisation}/repos"):
            return self._make(f"{self.organisation}/{body['name']}")
        match = _REPO.fullmatch(path)
        full_name = f"{match[1]}/{match[2]}" if match else ""
        if match is None or full_name not in self.hooks:
            return 404, {"message": "The target couldn't be found."}
        return self._of_repository(method, full_name, unquote(match[3] or ""), query, body)

    def _of_repository(  # noqa: PLR0911  # one case a route
        self,
        method: str,
        full_name: str,
        rest: str,
        query: dict[str, str],
        body: Any,  # JSON
    ) -> Answer:
        match method, rest.split("/", 2)[1:]:
            case "GET", []:
                return 200, self._shown(full_name)
            case "GET", ["branches"]:
                names = self.git(full_name, "for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads/").split()
                return 200, [{"name": name, "commit": {"id": self.head(full_name, name)}} for name in names]
            case "GET", ["branches", name]:
                head = self.head(full_name, name)
                return (200, {"name": name, "commit": {"id": head}}) if head else (404, {"message": "branch not found"})
            case "GET", ["hooks"]:
                return 200, [hook | {"config": hook["config"] | {"secret": ""}} for hook in self.hooks[full_name]]
            case "POST", ["hooks"]:
                self.hooks[full_name].append(body | {"id": len(self.hooks[full_name]) + 1})
                return 201, self.hooks[full_name][-1]
            case "PATCH", ["hooks", number]:
                self.hooks[full_name][int(number) - 1] |= body
                return 200, self.hooks[full_name][int(number) - 1]
            case "GET", ["git", tree]:
                return 200, self._tree(
                    full_name, tree.removeprefix("trees/"), int(query["page"]), int(query["per_page"])
                )
            case "POST", ["contents"]:
                return self._change(full_name, body)
        return 404, {"message": "The target couldn't be found."}

    def _make(self, full_name: str) -> Answer:
        if full_name in self.hooks:
            return 409, {"message": "The repository with the same name already exists."}
        self.create(full_name)
        return 201, self._shown(full_name)

    def _shown(self, full_name: str) -> dict[str, Any]:
        return {
            "full_name": full_name,
            "clone_url": f"{self.url}/{full_name}.git",
            "default_branch": "main",
            "private": True,
            "empty": not self.head(full_name, "main"),
        }

    def _tree(self, full_name: str, tree: str, page: int, size: int) -> dict[str, Any]:
        lines = self.git(full_name, "ls-tree", "-r", "-t", tree).splitlines()
        entries = [line.split(None, 3) for line in lines]
        shown = [{"path": path, "type": kind, "sha": sha, "mode": mode} for mode, kind, sha, path in entries]
        start = (page - 1) * size
        return {"sha": tree, "tree": shown[start : start + size], "truncated": len(shown) > start + size}

    def _change(self, full_name: str, change: dict[str, Any]) -> Answer:
        head = self.head(full_name, change["branch"])
        there = (
            {entry["path"]: entry["sha"] for entry in self._tree(full_name, head, 1, 10_000)["tree"]} if head else {}
        )
        stream = f"commit refs/heads/{change['branch']}\ncommitter {change['author']['name']} <x@y> now\n".encode()
        message = change["message"].encode()
        stream += f"data {len(message)}\n".encode() + message + b"\n" + (f"from {head}\n".encode() if head else b"")
        for file in change["files"]:
            if (file["operation"] == "create") == (file["path"] in there):
                return 422, {"message": "repository file already exists, or does not"}
            if file["operation"] != "create" and there[file["path"]] != file["sha"]:
                return 409, {"message": "sha does not match"}
            if file["operation"] == "delete":
                stream += f"D {file['path']}\n".encode()
            else:
                content = base64.b64decode(file["content"])
                stream += f"M 100644 inline {file['path']}\ndata {len(content)}\n".encode() + content + b"\n"
        self.git(full_name, "fast-import", "--quiet", "--date-format=now", stdin=stream)
        return 201, {"commit": {"sha": self.head(full_name, change["branch"])}, "files": []}


def _handler(fake: FakeGitea) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if match := _GIT.fullmatch(parts.path):
                self._git(f"{match[1]}/{match[2]}", match[3], parts.query, body)
                return
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if self.headers.get("authorization") != f"token {fake.token}" and parts.path != "/api/v1/version":
                status, answer = 401, {"message": "invalid username, password or token"}
            else:
                status, answer = fake.answer(self.command, parts.path, query, json.loads(body) if body else None)
            self._send(status, "application/json", json.dumps(answer).encode())

        def _git(self, full_name: str, path: str, query: str, body: bytes) -> None:
            given = self.headers.get("authorization", "").removeprefix("Basic ")
            if base64.b64decode(given).partition(b":")[2].decode() != fake.token or full_name not in fake.hooks:
                self._send(401, "text/plain", b"Unauthorized")
                return
            env = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(fake.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": f"/{full_name}.git/{path}",
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("content-type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""),
            }
            done = subprocess.run(["git", "http-backend"], env=env, input=body, capture_output=True, check=True)  # noqa: S607
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            kind = re.search(rb"Content-Type: ([^\r]+)", head)
            self._send(200, kind[1].decode() if kind else "text/plain", content)

        def _send(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = _serve  # noqa: N815  # the base class's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
            """Say nothing."""

    return Handler
