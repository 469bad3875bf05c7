"""``algodock callbacks``: what it sends and what it prints."""

from __future__ import annotations

import json
from typing import Any

from .conftest import FakeGateway, Run, failure

DELIVERY = {
    "attempt": 1, "started_at": "2026-01-01T00:00:00Z", "duration_ms": 12.4, "status": 500, "error": "HTTP 500",
    "answer": "", "next_at": None,
}  # fmt: skip
CALLBACK: dict[str, Any] = {
    "task_id": "t1", "webhook_id": "msg_1", "algorithm": "echo", "url": "http://me/", "state": "failed", "attempts": 7,
    "next_at": None, "last_status": 500, "last_error": "HTTP 500", "created_at": None, "ended_at": None,
}  # fmt: skip


def test_failed_ones_are_listed(fake: FakeGateway, run: Run) -> None:
    fake.answer("GET /api/v1/callbacks", {"callbacks": [CALLBACK], "next": "t1"})
    shown = run("callbacks", "list", "--state", "failed", "--to", "http://me/", "--since", "2026-01-01")
    assert "t1    failed  7" in shown.output
    assert "--after t1" in shown.output
    assert {"state=failed", "limit=50"} <= set(fake.asked[0].path.partition("?")[2].split("&"))
    assert "since=2026-01-01T00" in fake.asked[0].path


def test_disabled_addresses_are_listed(fake: FakeGateway, run: Run) -> None:
    one = {"url": "http://me/", "disabled_at": "2026-01-01T00:00:00Z", "reason": "gone"}
    fake.answer("GET /api/v1/callbacks/disabled", {"disabled": [one]})
    assert "http://me/" in run("callbacks", "list", "--disabled-addresses").output


def test_a_callback_is_shown_with_its_deliveries(fake: FakeGateway, run: Run) -> None:
    fake.answer("GET /api/v1/tasks/t1/callback", CALLBACK | {"deliveries": [DELIVERY]})
    shown = run("callbacks", "show", "t1").output
    assert "msg_1  failed" in shown
    assert "1        2026-01-01T00:00:00Z  12  500" in shown
    assert json.loads(run("callbacks", "show", "t1", "--json").output)["deliveries"] == [DELIVERY]


def test_one_is_sent_again(fake: FakeGateway, run: Run) -> None:
    fake.answer(
        "POST /api/v1/tasks/t1/callback/redeliver",
        CALLBACK | {"state": "pending", "next_at": "soon", "deliveries": []},
        status=202,
    )
    assert "next: soon" in run("callbacks", "redeliver", "t1").output


def test_all_failed_ones_are_sent_again_however_many_they_are(fake: FakeGateway, run: Run) -> None:
    path = "POST /api/v1/callbacks/redeliver"
    fake.answer(path, {"redelivered": 1000, "more": True}, {"redelivered": 7, "more": False}, status=202)
    shown = run("callbacks", "redeliver", "--state", "failed", "--algorithm", "echo")
    assert "1007 callbacks are due again" in shown.output
    assert [json.loads(one.body) for one in fake.asked] == [{"state": "failed", "algorithm": "echo"}] * 2


def test_a_task_or_a_state_must_be_named_and_not_both(run: Run) -> None:
    for arguments in ((), ("t1", "--state", "failed")):
        assert "--state" in str(failure(run("callbacks", "redeliver", *arguments)))


def test_an_address_is_enabled_again(fake: FakeGateway, run: Run) -> None:
    done = {"url": "http://me/", "was_disabled": True, "redelivered": 2, "more": False}
    fake.answer("POST /api/v1/callbacks/enable", done)
    shown = run("callbacks", "enable", "http://me/", "--redeliver").output
    assert "http://me/: enabled" in shown
    assert "2 callbacks" in shown
    assert json.loads(fake.asked[0].body) == {"url": "http://me/", "redeliver": True}


def test_a_new_secret_is_printed_alone_and_when_the_old_one_ends(fake: FakeGateway, run: Run) -> None:
    valid = [{"fingerprint": "abc", "since": "x", "valid_until": None}, {"fingerprint": "def", "valid_until": "later"}]
    fake.answer("POST /api/v1/keys/callback-secret/rotate", {"callback_secret": "whsec_new", "valid": valid})
    shown = run("callbacks", "rotate-secret", "--grace", "60")
    assert shown.stdout == "whsec_new\n"
    assert "def… is valid until later" in shown.stderr.replace("(", "").replace(")", "")
    assert json.loads(fake.asked[0].body) == {"grace_s": 60}


def test_a_refusal_says_what_to_do_about_it(fake: FakeGateway, run: Run) -> None:
    kind = "urn:problem-type:algodock:callback-target-disabled"
    fake.problem("POST /api/v1/tasks/t1/callback/redeliver", 409, "gone", type=kind)
    assert "next: `algodock callbacks enable URL`" in str(failure(run("callbacks", "redeliver", "t1")))
    fake.problem("POST /api/v1/tasks/t2/callback/redeliver", 409, "it has not ended")
    assert "next:" not in str(failure(run("callbacks", "redeliver", "t2")))
