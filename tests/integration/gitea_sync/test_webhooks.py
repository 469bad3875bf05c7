"""Webhooks as forges send them, and as strangers would like to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx
import pytest

from algodock_common.vault import Vault
from algodock_gitea_sync.domain.webhook import sign
from algodock_gitea_sync.settings import Settings

if TYPE_CHECKING:
    from tests.integration.gitea_sync.conftest import Service, Work

    MakeWork = Callable[..., Work]


def secret_of(service: Service, repo: Work) -> bytes:
    from uuid import UUID

    import asyncpg

    async def read() -> bytes:
        connection = await asyncpg.connect(service.settings.database.url.get_secret_value())
        try:
            query = "SELECT secret FROM gitea_sync.algorithm_repositories WHERE id = $1"
            return bytes(await connection.fetchval(query, UUID(repo.row["repository_id"])))
        finally:
            await connection.close()

    row = UUID(repo.row["repository_id"])
    return Vault(service.settings.secrets, "gitea-sync/secrets").open(asyncio.run(read()), row).encode()


def push_body(repo: Work, after: str, ref: str = "refs/heads/main", before: str = "0" * 40) -> bytes:
    document = {
        "ref": ref,
        "before": before,
        "after": after,
        "repository": {"full_name": repo.row["full_name"]},
        "pusher": {"login": "grace"},
    }
    return json.dumps(document).encode()


def send(service: Service, body: bytes, **headers: str | bytes) -> httpx.Response:
    named = [(name.encode(), value.encode() if isinstance(value, str) else value) for name, value in headers.items()]
    return httpx.post(f"{service.url}/webhook", content=body, headers=named, timeout=30)


@pytest.fixture
def pushed(service: Service, work: MakeWork) -> tuple[Work, bytes, str]:
    """A repository with one commit that was pushed, its webhook secret, and that commit."""
    repo = work("hooks")
    commit = repo.commit(main__py="x = 1\n")
    repo.push()
    service.events(commit)
    return repo, secret_of(service, repo), commit


@pytest.mark.parametrize(
    ("flavour", "signature"),
    [("X-Gitea", "{}"), ("X-Forgejo", "{}"), ("X-Gogs", "{}"), ("X-Gitea", "hub")],
)
def test_every_flavours_signature_is_understood(
    service: Service, pushed: tuple[Work, bytes, str], flavour: str, signature: str
) -> None:
    repo, secret, commit = pushed
    body = push_body(repo, commit, before=f"{flavour}{signature}".encode().hex().zfill(40))
    headers = {f"{flavour}-Event": "push", f"{flavour}-Delivery": "d-1"}
    if signature == "hub":
        headers["X-Hub-Signature-256"] = f"sha256={sign(body, secret)}"
    else:
        headers[f"{flavour}-Signature"] = sign(body, secret)
    answer = send(service, body, **headers)
    assert (answer.status_code, answer.json()["outcome"]) == (200, "unchanged")
    assert repo.deliveries()[0]["flavour"] == flavour.removeprefix("X-").lower()


def test_nothing_that_is_not_signed_rightly_is_taken_and_all_refusals_look_alike(
    service: Service, pushed: tuple[Work, bytes, str]
) -> None:
    repo, secret, commit = pushed
    body = push_body(repo, commit)
    good = sign(body, secret)
    unknown = body.replace(repo.algorithm.encode(), b"no-such-thing")
    event = {"X-Gitea-Event": "push"}
    refused = [
        send(service, body, **event),
        send(service, body, **event, **{"X-Gitea-Signature": ""}),
        send(service, body, **event, **{"X-Gitea-Signature": "0" * 64}),
        send(service, body, **event, **{"X-Gitea-Signature": good[:-1]}),
        send(service, body, **event, **{"X-Gitea-Signature": sign(body, b"")}),
        send(service, body + b" ", **event, **{"X-Gitea-Signature": good}),
        send(service, body, **event, **{"X-Gitea-Signature": good, "X-Hub-Signature-256": "sha256=" + "0" * 64}),
        send(service, body, **event, **{"X-Gitea-Signature": "Ü".encode() * 64}),
        send(service, unknown, **event, **{"X-Gitea-Signature": sign(unknown, secret)}),
        send(service, b"not json", **event, **{"X-Gitea-Signature": sign(b"not json", secret)}),
        send(service, b"[" * 100_000, **event, **{"X-Gitea-Signature": good}),
        send(service, body),
    ]
    assert {answer.status_code for answer in refused} == {401}
    told = {json.dumps({k: v for k, v in answer.json().items() if k != "trace_id"}) for answer in refused}
    (words,) = told
    assert not any(word in words for word in ("empty", "wrong", "missing", repo.algorithm))


def test_refusals_are_counted_in_one_row(service: Service, pushed: tuple[Work, bytes, str]) -> None:
    repo, _, commit = pushed
    for _ in range(3):
        send(service, push_body(repo, commit), **{"X-Gitea-Event": "push", "X-Gitea-Signature": "0" * 64})

    def refused() -> list[int]:
        return [d["count"] for d in repo.deliveries() if d["outcome"] == "refused"]

    service.eventually(lambda: refused() == [3])


def test_a_repeated_webhook_deploys_once_and_is_one_row(service: Service, pushed: tuple[Work, bytes, str]) -> None:
    repo, secret, commit = pushed
    body = push_body(repo, commit)
    answers = [
        send(service, body, **{"X-Gitea-Event": "push", "X-Gitea-Signature": sign(body, secret)}) for _ in range(3)
    ]
    assert {answer.json()["outcome"] for answer in answers} == {"unchanged"}
    assert len([event for event in service.pushed if event.commit == commit]) == 1
    same = [d for d in repo.deliveries() if d["after"] == commit and d["before"] == "0" * 40]
    assert [(d["count"], d["outcome"]) for d in same] == [(4, "pushed")]


def test_what_a_webhook_claims_does_not_count_but_the_branchs_head(
    service: Service, pushed: tuple[Work, bytes, str]
) -> None:
    """One that comes after a later one, and one that names a commit nobody pushed."""
    repo, secret, first = pushed
    second = repo.commit(main__py="x = 2\n")
    repo.push()
    service.events(second)
    for late in (first, "1" * 40):
        body = push_body(repo, late, before="4" * 40)
        answer = send(service, body, **{"X-Gitea-Event": "push", "X-Gitea-Signature": sign(body, secret)})
        assert (answer.json()["outcome"], answer.json()["commit"]) == ("unchanged", second)
    assert [event.commit for event in service.pushed if event.algorithm == repo.algorithm] == [first, second]


@pytest.mark.parametrize(
    ("event", "ref", "after", "detail"),
    [
        ("ping", "refs/heads/main", "1" * 40, "is no push"),
        ("push", "refs/tags/v1", "1" * 40, "is no branch"),
        ("push", "refs/heads/old", "0" * 40, "was deleted"),
        ("push", "refs/heads/--upload-pack=touch /tmp/x", "1" * 40, "is not a branch name"),
        ("push", "refs/heads/--upload-pack=reboot", "1" * 40, "is not a branch name"),
        ("push", "refs/heads/../../config", "1" * 40, "is not a branch name"),
    ],
)
def test_what_is_no_push_to_a_branch_is_recorded_and_ignored(
    service: Service, pushed: tuple[Work, bytes, str], event: str, ref: str, after: str, detail: str
) -> None:
    repo, secret, _ = pushed
    body = push_body(repo, after, ref)
    answer = send(service, body, **{"X-Gitea-Event": event, "X-Gitea-Signature": sign(body, secret)})
    assert (answer.status_code, answer.json()["outcome"]) == (200, "ignored")
    assert detail in answer.json()["detail"]
    assert repo.deliveries()[0]["outcome"] == "ignored"


def test_a_webhook_past_the_limit_is_not_read(service: Service) -> None:
    body = b"x" * (service.settings.git.max_webhook_bytes + 1)
    assert send(service, body, **{"X-Gitea-Event": "push"}).status_code == 413
    chunks = (b"x" * 65536 for _ in range(40))
    assert httpx.post(f"{service.url}/webhook", content=chunks, headers={"X-Gitea-Event": "push"}).status_code == 413


def test_a_look_that_failed_is_made_good_by_the_next_one(
    service: Service, work: MakeWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The object store is away when the hook tells of the push: the push is taken, the delivery says failed."""
    from algodock_common.storage import MinioObjectStore, ObjectStoreUnavailable

    async def away(*_: object, **__: object) -> None:
        raise ObjectStoreUnavailable("the object store is away")

    repo = work("cut")
    commit = repo.commit(main__py="x = 1\n")
    with monkeypatch.context() as patch:
        patch.setattr(MinioObjectStore, "put_file", away)
        shown = repo.push()
    assert "the platform cannot be told now (the object store is away)" in shown
    assert "looks for itself within" in shown
    assert [d["outcome"] for d in repo.deliveries()] == ["failed"]
    body = push_body(repo, "2" * 40, before="3" * 40)  # any later reason to look
    send(service, body, **{"X-Gitea-Event": "push", "X-Gitea-Signature": sign(body, secret_of(service, repo))})
    assert service.events(commit)
    assert {d["outcome"] for d in repo.deliveries() if d["after"] == commit} == {"pushed"}


def test_a_bundle_that_cannot_be_made_here_is_said_so_and_made_later(service: Service, work: MakeWork) -> None:
    """As on a full disk; here a file lies where the folder of bundles should be."""
    repo = work("disk")
    commit = repo.commit(main__py="x = 1\n")
    folder = service.settings.platform.data_dir / "forge" / "bundles"
    hidden = folder.with_name("hidden")
    if folder.exists():
        folder.rename(hidden)
    folder.touch()
    try:
        shown = repo.push()
        (delivery,) = repo.deliveries()
    finally:
        folder.unlink()
        if hidden.exists():
            hidden.rename(folder)
    assert "the source bundle of" in shown
    assert (delivery["outcome"], "File exists" in delivery["detail"]) == ("failed", True)
    body = push_body(repo, "2" * 40, before="3" * 40)
    send(service, body, **{"X-Gitea-Event": "push", "X-Gitea-Signature": sign(body, secret_of(service, repo))})
    assert service.events(commit)


def test_it_starts_although_the_object_store_is_away(service: Service) -> None:
    """It used to end, and to keep its Kafka group from everybody for as long as a dead member is waited for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HTTP_PORT", str(service.free_port()))
        patch.setenv("S3_ENDPOINT", f"http://127.0.0.1:{service.free_port()}")
        with service.another(Settings()) as url:
            assert httpx.get(f"{url}/health").status_code == 200
            ready = httpx.get(f"{url}/ready", timeout=30)
    assert (ready.status_code, ready.json()["checks"]["objects"]["state"]) == (503, "failed")
