"""What a delivery's answer means, and that the receivers' own library accepts the signature."""

from __future__ import annotations

import time
from uuid import UUID

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from algodock_runner.domain.callbacks import SCHEDULE_S, Answer, signed_headers, verdict_of, webhook_id

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NEW = "whsec_bmV3LW5ldy1uZXctbmV3LW5ldy1uZXc="
OTHER = "whsec_b3RoZXItb3RoZXItb3RoZXItb3RoZXI="


def test_a_receiver_that_verifies_accepts_it_and_a_changed_body_not() -> None:
    headers = signed_headers([SECRET], "msg_1", int(time.time()), b'{"a":1}')
    assert Webhook(SECRET).verify(b'{"a":1}', headers) == {"a": 1}
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(b'{"a":2}', headers)


def test_while_a_secret_is_rotated_both_are_accepted() -> None:
    headers = signed_headers([NEW, SECRET], "msg_1", int(time.time()), b"{}")
    assert headers["webhook-signature"].count("v1,") == 2
    for secret in (NEW, SECRET):
        assert Webhook(secret).verify(b"{}", headers) == {}
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(b"{}", headers)


@pytest.mark.parametrize("secrets", [[], ["whsec_"], ["whsec_not base64!"], [SECRET, "whsec_"]])
def test_a_secret_that_is_none_is_refused(secrets: list[str]) -> None:
    with pytest.raises(ValueError, match="secret"):
        signed_headers(secrets, "m", 1, b"")


def test_the_id_is_the_tasks_own() -> None:
    task = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
    assert webhook_id(task) == webhook_id(task) == "msg_01890a5dac96774bbcceb302099a8057"


@pytest.mark.parametrize("status", [200, 202, 204, 299])
def test_only_2xx_is_success(status: int) -> None:
    assert verdict_of(Answer(status), 1).state == "delivered"


@pytest.mark.parametrize("status", [None, 100, 301, 307, 400, 404, 429, 500, 503])
def test_everything_else_is_tried_again(status: int | None) -> None:
    assert verdict_of(Answer(status), 1).state == "pending"


def test_gone_means_never_again() -> None:
    assert verdict_of(Answer(410), 1).state == "disabled"


def test_the_waits_follow_the_schedule_with_jitter_and_end() -> None:
    for attempts, wait_s in enumerate(SCHEDULE_S[1:], start=1):
        verdict = verdict_of(Answer(500), attempts)
        assert wait_s <= verdict.wait_s <= 1.2 * wait_s
    assert verdict_of(Answer(500), len(SCHEDULE_S)).state == "failed"


def test_retry_after_lengthens_the_wait_within_a_day() -> None:
    assert verdict_of(Answer(503, retry_after_s=4000), 1).wait_s == 4000
    assert verdict_of(Answer(503, retry_after_s=1), 3).wait_s >= 1800
    assert verdict_of(Answer(503, retry_after_s=10**9), 1).wait_s == 86_400
