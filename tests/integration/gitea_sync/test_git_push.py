"""Real pushes by git to a running gitea-sync."""

from __future__ import annotations

import gzip
import os
import shutil
import socket
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest

from algodock_common.identifiers import uuid7

if TYPE_CHECKING:
    from tests.integration.gitea_sync.conftest import Service, Work

    MakeWork = Callable[..., Work]

GIT = shutil.which("git") or "git"
MAX_PUSH = 2_000_000


def names(service: Service, event: object, folder: Path) -> list[str]:
    with tarfile.open(service.bundle(event, folder)) as archive:  # type: ignore[arg-type]
        return archive.getnames()


def test_a_push_becomes_one_event_with_the_commits_files(service: Service, work: MakeWork, tmp_path: Path) -> None:
    repo = work()
    commit = repo.commit("Say hello", main__py="print('hello')\n")
    shown = repo.push()
    assert f"deploying {commit[:10]} of main as {repo.algorithm}" in shown
    assert "build  0.0 s  environment unchanged" in shown
    assert "live after" in shown
    public = urlsplit(repo.row["clone_url"])
    assert public.hostname == "localhost"
    assert f"http://{public.netloc}/ai/{repo.algorithm}/predict" in shown
    (event,) = service.events(commit)
    assert (event.algorithm, event.ref, event.pusher) == (repo.algorithm, "refs/heads/main", "ada")
    assert (event.message, event.parent, event.problem) == ("Say hello", None, None)
    assert names(service, event, tmp_path) == ["main.py"]
    assert repo.state()["last_seen_commit"] == commit
    assert [(d["outcome"], d["commit"]) for d in repo.deliveries()] == [("pushed", commit)]


def test_a_clone_gets_back_what_was_pushed(work: MakeWork, tmp_path: Path) -> None:
    repo = work()
    repo.commit(main__py="print(1)\n")
    repo.push()
    repo.git("clone", "-q", repo.row["clone_url"], str(tmp_path / "again"))
    assert (tmp_path / "again" / "main.py").read_text() == "print(1)\n"


def test_many_files_come_in_one_chunked_push(service: Service, work: MakeWork, tmp_path: Path) -> None:
    """Past http.postBuffer git sends the pack chunked, without a Content-Length."""
    repo = work()
    (repo.dir / "model.bin").write_bytes(os.urandom(1_500_000))
    commit = repo.commit(main__py="x = 1\n")
    assert "live after" in repo.push()
    (event,) = service.events(commit)
    assert names(service, event, tmp_path) == ["main.py", "model.bin"]


def test_a_push_past_the_limit_is_refused_while_it_is_counted_and_changes_nothing(work: MakeWork) -> None:
    repo = work()
    (repo.dir / "model.bin").write_bytes(os.urandom(MAX_PUSH + 500_000))
    repo.commit()
    shown = repo.push(check=False)
    assert "413" in shown
    assert repo.state()["last_seen_commit"] is None
    (repo.dir / "model.bin").write_bytes(b"small")
    repo.git("reset", "-q", "--soft", "HEAD")
    repo.git("commit", "-q", "--amend", "-a", "-m", "small")
    assert "live after" in repo.push()


def test_a_push_that_announces_two_gigabytes_is_refused_before_it_is_read(service: Service, work: MakeWork) -> None:
    repo = work()
    path = f"/git/algodock/{repo.algorithm}.git/git-receive-pack"
    kind = "application/x-git-receive-pack-request"
    headers = {**service.headers, "host": "test", "content-type": kind, "content-length": str(2 * 2**30)}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode())  # and nothing of the body
        answer = connection.recv(65536).decode()
    assert answer.startswith("HTTP/1.1 413")
    assert "application/problem+json" in answer


class Gone(Exception):
    """A client that stops in the middle."""


def test_a_gzipped_request_is_understood(service: Service, work: MakeWork) -> None:
    repo = work()
    repo.commit(main__py="x = 1\n")
    repo.push()
    wants = b"0032want " + repo.git("rev-parse", "HEAD").encode() + b"\n00000009done\n"
    answer = httpx.post(
        f"{service.url}/git/algodock/{repo.algorithm}.git/git-upload-pack",
        content=gzip.compress(wants),
        headers={
            **service.headers,
            "content-type": "application/x-git-upload-pack-request",
            "content-encoding": "gzip",
        },
    )
    assert answer.status_code == 200
    assert b"PACK" in answer.content


def test_the_first_branch_of_an_empty_repository_deploys_whatever_its_name(service: Service, work: MakeWork) -> None:
    repo = work()
    repo.git("checkout", "-q", "-b", "master")
    commit = repo.commit(main__py="x = 1\n")
    assert "of master as" in repo.push("origin", "master")
    assert service.events(commit)[0].ref == "refs/heads/master"
    assert repo.state()["branch"] == "master"


def test_a_push_to_another_branch_is_recorded_and_said_so(service: Service, work: MakeWork) -> None:
    repo = work()
    repo.commit(main__py="x = 1\n")
    repo.push()
    repo.git("checkout", "-q", "-b", "try")
    commit = repo.commit(main__py="x = 2\n")
    shown = repo.push("origin", "try")
    assert "branch try is recorded and does not deploy; main does" in shown
    assert repo.deliveries()[0]["outcome"] == "other-branch"
    assert not [event for event in service.pushed if event.commit == commit]


def test_a_branch_forced_back_deploys_the_older_commit_again(service: Service, work: MakeWork) -> None:
    repo = work()
    first = repo.commit(main__py="x = 1\n")
    repo.push()
    second = repo.commit(main__py="x = 2\n")
    repo.push()
    repo.git("reset", "-q", "--hard", first)
    repo.push("--force", "origin", "HEAD")
    assert len(service.events(first, 2)) == 2
    assert [e.commit for e in service.pushed if e.algorithm == repo.algorithm] == [first, second, first]


def test_the_branch_that_deploys_cannot_be_deleted(work: MakeWork) -> None:
    repo = work()
    repo.commit(main__py="x = 1\n")
    repo.push()
    assert "deletion of the current branch prohibited" in repo.push("origin", ":main", check=False)


def test_only_branches_and_tags_are_taken(work: MakeWork) -> None:
    repo = work()
    repo.commit(main__py="x = 1\n")
    repo.push()
    assert "hidden ref" in repo.push("origin", "HEAD:refs/replace/" + "0" * 39 + "1", check=False)


def test_a_failed_release_is_told_with_its_reason_and_the_push_succeeds(service: Service, work: MakeWork) -> None:
    repo = work()
    repo.commit(main__py="this is not python (")
    service.deployer.releases = lambda commit: [
        service.live(commit, "failed", reason="check: SyntaxError: main.py line 1")
    ]
    try:
        shown = repo.push()
    finally:
        service.deployer.releases = lambda commit: [service.live(commit)]
    assert "FAILED: check: SyntaxError: main.py line 1" in shown


def test_an_old_release_of_the_same_commit_is_not_taken_for_this_pushs(service: Service, work: MakeWork) -> None:
    repo = work()
    repo.commit(main__py="x = 1\n")
    old = "2020-01-01T00:00:00+00:00"
    asked: list[str] = []

    def releases(commit: str) -> list[dict[str, object]]:
        asked.append(commit)
        before = service.live(commit, "failed", reason="of long ago") | {"created_at": old}
        return [before] if len(asked) < 3 else [service.live(commit), before]

    service.deployer.releases = releases
    try:
        shown = repo.push()
    finally:
        service.deployer.releases = lambda commit: [service.live(commit)]
    assert "live after" in shown
    assert "of long ago" not in shown


def test_a_deployer_that_is_down_does_not_fail_the_push(service: Service, work: MakeWork) -> None:
    repo = work()
    commit = repo.commit(main__py="x = 1\n")
    service.deployer.status = 503
    service.deployer.releases = lambda _: []
    try:
        shown = repo.push()
    finally:
        service.deployer.status = 200
        service.deployer.releases = lambda c: [service.live(c)]
    assert "the deployer cannot be asked (it answered 503)" in shown
    assert f"/api/v1/services/build-log/{repo.algorithm}" in shown
    assert service.events(commit)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda folder: (folder / "passwd").symlink_to("/etc/passwd"), "'passwd' is a symbolic link"),
        (lambda folder: (folder / "A.py").write_text("") and None, "differ only in case"),
    ],
)
def test_a_commit_that_is_no_bundle_goes_out_with_its_problem(
    service: Service, work: MakeWork, make: Callable[[Path], None], problem: str
) -> None:
    repo = work()
    (repo.dir / "a.py").write_text("")
    make(repo.dir)
    commit = repo.commit()
    repo.push()
    (event,) = service.events(commit)
    assert event.bundle_key is None
    assert problem in (event.problem or "")
    assert problem in repo.state()["problem"]


def test_a_submodule_goes_out_as_a_problem(service: Service, work: MakeWork) -> None:
    repo = work()
    inner = repo.commit(main__py="x = 1\n")
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{inner},vendored")
    repo.git("commit", "-q", "-m", "module")
    commit = repo.git("rev-parse", "HEAD")
    repo.push()
    assert "'vendored' is a submodule" in (service.events(commit)[0].problem or "")


def test_a_tree_that_leaves_its_folder_is_refused_at_the_push(work: MakeWork) -> None:
    repo = work()
    blob = _object(repo, "blob", b"x = 1\n")
    tree = _object(repo, "tree", b"100644 ..\0" + bytes.fromhex(blob))
    commit = repo.git("commit-tree", "-m", "evil", tree)
    shown = repo.push("origin", f"{commit}:refs/heads/main", check=False)
    assert "hasDotdot" in shown
    assert repo.state()["last_seen_commit"] is None


def _object(repo: Work, kind: str, content: bytes) -> str:
    done = subprocess.run(
        [GIT, "hash-object", "-w", "--literally", "-t", kind, "--stdin"],
        cwd=repo.dir,
        input=content,
        capture_output=True,
        check=True,
    )
    return done.stdout.decode().strip()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/git/algodock/no-such.git/info/refs?service=git-upload-pack", 404),
        ("GET", "/git/algodock/{name}.git/info/refs", 403),
        ("GET", "/git/algodock/{name}.git/info/refs?service=git-upload-archive", 403),
        ("GET", "/git/algodock/{name}.git/HEAD", 404),
        ("GET", "/git/algodock/{name}.git/objects/info/packs", 404),
        ("POST", "/git/algodock/{name}.git/git-upload-archive", 404),
        ("POST", "/git/algodock/{name}.git/git-receive-pack", 400),
        ("GET", "/git/..%2f..%2fetc/{name}.git/info/refs?service=git-upload-pack", 404),
        ("GET", "/git/ALGO/{name}.git/info/refs?service=git-upload-pack", 422),
        ("GET", "/git/--upload-pack=x/{name}.git/info/refs?service=git-upload-pack", 422),
    ],
)
def test_what_is_not_smart_http_is_refused(
    service: Service, work: MakeWork, method: str, path: str, status: int
) -> None:
    repo = work()
    answer = httpx.request(method, service.url + path.format(name=repo.algorithm), headers=service.headers)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("application/problem+json")


def test_git_is_only_served_to_the_gateway(service: Service, work: MakeWork) -> None:
    repo = work()
    url = f"{service.url}/git/algodock/{repo.algorithm}.git/info/refs?service=git-upload-pack"
    assert httpx.get(url).status_code == 401
    assert httpx.get(url, headers={"authorization": service.headers["authorization"]}).status_code == 401


def test_a_pusher_that_goes_away_in_the_middle_leaves_no_change(service: Service, work: MakeWork) -> None:
    repo = work()
    (repo.dir / "model.bin").write_bytes(os.urandom(1_500_000))
    repo.commit()

    def stops() -> Iterator[bytes]:
        yield b"0" * 1000
        raise Gone

    url = f"{service.url}/git/algodock/{repo.algorithm}.git/git-receive-pack"
    headers = {**service.headers, "content-type": "application/x-git-receive-pack-request"}
    with pytest.raises(Gone):
        httpx.post(url, headers=headers, content=stops())
    assert repo.state()["last_seen_commit"] is None
    assert "live after" in repo.push()


def test_two_pushes_at_once_come_out_as_the_branch_says(service: Service, work: MakeWork) -> None:
    repos = [work() for _ in range(4)]
    commits = [repo.commit(main__py=f"x = {n}\n") for n, repo in enumerate(repos)]
    threads = [threading.Thread(target=repo.push) for repo in repos]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [len(service.events(commit)) for commit in commits] == [1, 1, 1, 1]


def test_making_a_repository_again_answers_the_same(service: Service, work: MakeWork) -> None:
    repo = work()
    body = {"algorithm_id": repo.algorithm_id, "algorithm": repo.algorithm, "owner": "ada"}
    with service.client() as client:
        again = client.post("/internal/repositories", json=body).json()
        assert again["repository_id"] == repo.row["repository_id"]
        other = client.post("/internal/repositories", json=body | {"algorithm_id": str(uuid7())})
    assert other.status_code == 409
