"""Uploads, linked repositories, the Gitea configuration, the poller."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from algodock_common.identifiers import uuid7
from algodock_gitea_sync.clients.fake_gitea import FakeGitea

if TYPE_CHECKING:
    from tests.integration.gitea_sync.conftest import Service, Work

    MakeWork = Callable[..., Work]


def upload(service: Service, name: str, *files: tuple[str, bytes], **more: Any) -> httpx.Response:
    with service.client() as client:
        parts = [("files", (path, content, "application/octet-stream")) for path, content in files]
        return client.post(f"/internal/repositories/{name}/upload", files=parts, **more)


def link(service: Service, algorithm: str, url: str, branch: str = "main", algorithm_id: str = "") -> httpx.Response:
    body = {"algorithm_id": algorithm_id or str(uuid7()), "algorithm": algorithm, "repo_url": url, "branch": branch}
    with service.client() as client:
        return client.post("/internal/repositories/link", json=body)


@pytest.fixture
def gitea(service: Service, tmp_path: Path) -> Iterator[FakeGitea]:
    """A Gitea, configured as the one that is used, until the test ends."""
    fake = FakeGitea(tmp_path / "gitea")
    config = {"server_url": fake.url, "access_token": fake.token, "default_owner": "team", "repo_prefix": "p-"}
    with service.client() as client:
        assert client.post("/internal/gitea/config", json=config).status_code == 200
    yield fake
    with service.client() as client:  # back to a Gitea without a token: new repositories are made here again
        empty = {"server_url": fake.url, "access_token": "x"} | {"default_owner": "nobody"}
        client.post("/internal/gitea/config", json=empty)
    fake.close()
    _forget_configs(service)


def _forget_configs(service: Service) -> None:
    import asyncio

    import asyncpg

    async def run() -> None:
        connection = await asyncpg.connect(service.settings.database.url.get_secret_value())
        await connection.execute("DELETE FROM gitea_sync.gitea_configs")
        await connection.close()

    asyncio.run(run())


def test_uploaded_files_become_one_commit_that_deploys(service: Service, work: MakeWork) -> None:
    repo = work()
    answer = upload(service, repo.algorithm, ("main.py", b"x = 1\n"), ("samples/eins.json", b"{}"))
    assert answer.status_code == 200, answer.text
    assert answer.json()["success"] is True
    assert answer.json()["files"] == ["main.py", "samples/eins.json"]
    (event,) = service.events(answer.json()["commit"])
    assert (event.message, event.pusher) == ("Upload 2 files", "ada")
    repo.git("pull", "-q", "origin", "main")
    assert (repo.dir / "samples" / "eins.json").read_text() == "{}"
    again = upload(service, repo.algorithm, ("main.py", b"x = 2\n"), params={"replace": "true"}).json()
    assert [e.parent for e in service.events(again["commit"])] == [event.commit]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("../evil.py", "leaves its folder"),
        ("/etc/passwd", "absolute"),
        ("a/../../b", "leaves its folder"),
        (".git/hooks/post-receive", "git's own folder"),
        ("a\\b.py", "path separator"),
        ("", "files"),
    ],
)
def test_an_upload_that_leaves_its_folder_is_refused(service: Service, work: MakeWork, path: str, why: str) -> None:
    repo = work()
    answer = upload(service, repo.algorithm, (path, b"x"))
    assert answer.status_code == 422, answer.text
    assert why in answer.json()["detail"]
    assert repo.state()["last_seen_commit"] is None


def test_an_upload_past_the_limit_is_413_and_one_to_nobody_404(service: Service, work: MakeWork) -> None:
    repo = work()
    assert upload(service, repo.algorithm, ("big.bin", b"x" * 2_100_000)).status_code == 413
    assert upload(service, "no-such-thing", ("main.py", b"x")).status_code == 404
    with service.client() as client:
        assert client.post(f"/internal/repositories/{repo.algorithm}/upload", json={}).status_code == 400


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc",
        "ext::sh -c whoami",
        "--upload-pack=touch /tmp/owned",
        "http://user:pw@127.0.0.1/a/b",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/a/b",
        "https://github.example/a/b",
        "git@host:a/b.git",
        "http://127.0.0.1/a/b?x=y",
        "file://127.0.0.1/a/b",
        "ext://127.0.0.1/a/b",
        "ssh://127.0.0.1/a/b",
    ],
)
def test_urls_that_are_not_allowed_are_refused_at_the_link(service: Service, url: str) -> None:
    answer = link(service, "refused", url)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")


@pytest.mark.parametrize(
    "branch", ["--upload-pack=touch /tmp/x", "--upload-pack=reboot", "a..b", "a b", "-x", "x.lock", "a//b", "@{1}"]
)
def test_branches_that_are_none_are_refused_at_the_link(service: Service, branch: str) -> None:
    answer = link(service, "refused", f"{service.url}/git/algodock/refused.git", branch)
    assert answer.status_code == 422
    assert "is not a branch name" in answer.json()["detail"]


def test_a_linked_gitea_repository_deploys_now_and_by_its_webhooks(service: Service, gitea: FakeGitea) -> None:
    url = gitea.create("team/echo")
    first = gitea.commit("team/echo", {"main.py": b"x = 1\n"}, message="First")
    name = f"linked-{uuid7().hex[-6:]}"
    answer = link(service, name, url)
    assert answer.status_code == 202, answer.text
    seen = answer.json()
    assert (seen["commit"], seen["message"], seen["outcome"], seen["webhook"]) == (first, "First", "pushed", True)
    assert service.events(first)[0].repository == "team/echo"
    second = gitea.commit("team/echo", {"main.py": b"x = 2\n"})
    gitea.hooks["team/echo"][0]["config"]["url"] = f"{service.url}/webhook"  # where the gateway passes it on to
    assert gitea.deliver("team/echo", first, second) == [200]
    assert service.events(second)[0].pusher == "ada"
    assert gitea.deliver("team/echo", first, second) == [200]
    assert len([e for e in service.pushed if e.commit == second]) == 1


def test_linking_again_deploys_the_same_head_again(service: Service, gitea: FakeGitea) -> None:
    url = gitea.create("team/twice")
    commit = gitea.commit("team/twice", {"main.py": b"x = 1\n"})
    name, algorithm_id = f"twice-{uuid7().hex[-6:]}", str(uuid7())
    assert link(service, name, url, algorithm_id=algorithm_id).json()["outcome"] == "pushed"
    assert link(service, name, url, algorithm_id=algorithm_id).json()["outcome"] == "pushed"
    assert len(service.events(commit, 2)) == 2
    assert len(gitea.hooks["team/twice"]) == 1


def test_a_branch_that_is_not_there_is_said_with_those_that_are(service: Service, gitea: FakeGitea) -> None:
    url = gitea.create("team/branches")
    gitea.commit("team/branches", {"main.py": b"x"}, "release")
    answer = link(service, "branches", url)
    assert answer.status_code == 422
    assert "it has: release" in answer.json()["detail"]


def test_new_repositories_are_made_on_the_configured_gitea(service: Service, gitea: FakeGitea) -> None:
    name = f"made-{uuid7().hex[-6:]}"
    body = {"algorithm_id": str(uuid7()), "algorithm": name, "owner": "ada"}
    with service.client() as client:
        made = client.post("/internal/repositories", json=body).raise_for_status().json()
    assert made["full_name"] == f"team/p-{name}"
    assert made["clone_url"].startswith(gitea.url)
    webhook = gitea.hooks[made["full_name"]][0]["config"]["url"]
    assert webhook == f"{service.settings.peers.public_url}/api/v1/gitea/webhook"
    answer = upload(service, name, ("main.py", b"x = 1\n"))
    assert answer.status_code == 200, answer.text
    assert service.events(answer.json()["commit"])
    gone = httpx.get(
        f"{service.url}/git/algodock/{name}.git/info/refs?service=git-upload-pack", headers=service.headers
    )
    assert gone.status_code == 404
    assert made["clone_url"] in gone.json()["detail"]


def test_the_token_never_comes_out_and_a_gitea_that_does_not_answer_is_not_saved(
    service: Service, gitea: FakeGitea
) -> None:
    with service.client() as client:
        shown = client.get("/internal/gitea/config").json()
        assert (shown["server_url"], shown["default_owner"], shown["status"]) == (gitea.url, "team", "active")
        tested = client.get("/internal/gitea/test-connection").json()
        assert (tested["success"], tested["version"]) == (True, "1.24.0")
        bad = client.post("/internal/gitea/config", json={"server_url": gitea.url, "access_token": "wrong"})
        assert bad.status_code == 400
        assert "401" in bad.json()["detail"]
        kept = client.post("/internal/gitea/config", json={"server_url": gitea.url, "default_owner": "robot"})
        assert kept.status_code == 200
        history = client.get("/internal/gitea/config/history").json()["configs"]
        assert [(c["default_owner"], c["active"]) for c in history] == [("robot", True), ("team", False)]
        everything = json.dumps([shown, tested, bad.json(), kept.json(), history])
        assert gitea.token not in everything


def test_the_poller_finds_what_no_webhook_told_of(service: Service, gitea: FakeGitea) -> None:
    from algodock_gitea_sync.settings import Settings

    url = gitea.create("team/lost")
    first = gitea.commit("team/lost", {"main.py": b"x = 1\n"})
    link(service, f"lost-{uuid7().hex[-6:]}", url)
    service.events(first)
    second = gitea.commit("team/lost", {"main.py": b"x = 2\n"})  # and its webhook is lost
    with pytest.MonkeyPatch.context() as patch:
        port = service.free_port()
        patch.setenv("HTTP_PORT", str(port))
        patch.setenv("GIT_POLL_INTERVAL_S", "0.3")
        with service.another(Settings()):
            assert service.events(second)[0].pusher == ""
            gitea.git("team/lost", "update-ref", "refs/heads/main", first)  # and once forced back
            service.events(first, 2)
    time.sleep(0.5)
    assert [e.commit for e in service.pushed if e.repository == "team/lost"] == [first, second, first]


def test_an_archived_algorithm_takes_no_push_and_comes_back(service: Service, work: MakeWork) -> None:
    repo = work()
    repo.commit(main__py="x = 1\n")
    repo.push()
    service.tell(repo, "archived", 1)
    service.eventually(lambda: repo.state()["archived"])
    repo.commit(main__py="x = 2\n")
    assert "403" in repo.push(check=False)
    assert upload(service, repo.algorithm, ("a.py", b"x")).status_code == 403
    service.tell(repo, "changed", 2)
    service.eventually(lambda: not repo.state()["archived"])
    assert "live after" in repo.push()
