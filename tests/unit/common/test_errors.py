"""Typed errors and the problem documents that they become and come back from."""

from __future__ import annotations

import pytest

from algodock_common.errors import (
    AlgoDockError,
    BadRequest,
    Conflict,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UpstreamFailed,
    UpstreamTimeout,
    error_for_status,
    error_from_problem,
    problem_of,
)


class PortTaken(Conflict):
    """What a service's domain would declare."""

    code = "port-taken"
    title = "Port taken"


def test_a_problem_has_the_members_of_rfc_9457_and_the_errors_own() -> None:
    problem = problem_of(PortTaken("Port 8100 is taken.", port=8100), instance="/internal/instances", trace_id="ab")

    assert problem == {
        "type": "urn:problem-type:algodock:port-taken",
        "title": "Port taken",
        "status": 409,
        "detail": "Port 8100 is taken.",
        "instance": "/internal/instances",
        "trace_id": "ab",
        "port": 8100,
    }


def test_extra_members_never_replace_the_standard_ones() -> None:
    assert problem_of(NotFound("gone", status=200, type="about:blank"))["status"] == 404


def test_retry_after_is_a_header_of_whole_seconds() -> None:
    assert TooManyRequests("full", retry_after=0.2).headers() == {"retry-after": "1"}
    assert Unavailable("down", retry_after=2.1).headers() == {"retry-after": "3"}
    assert Unavailable("down").headers() == {}


def test_an_unauthorized_answer_carries_its_challenge() -> None:
    assert Unauthorized("no").headers() == {"www-authenticate": "Bearer"}


@pytest.mark.parametrize("error", [Unavailable, UpstreamFailed, UpstreamTimeout, TooManyRequests])
def test_what_may_succeed_later_is_retryable(error: type[AlgoDockError]) -> None:
    assert error.retryable


@pytest.mark.parametrize("error", [AlgoDockError, BadRequest, Conflict, NotFound])
def test_what_stays_wrong_is_not_retryable(error: type[AlgoDockError]) -> None:
    assert not error.retryable


def test_a_problem_becomes_the_same_kind_of_error_again() -> None:
    sent = problem_of(PortTaken("Port 8100 is taken.", port=8100))

    error = error_from_problem(409, sent, retry_after=3)

    assert isinstance(error, Conflict)
    assert (error.code, error.title, error.detail) == ("port-taken", "Port taken", "Port 8100 is taken.")
    assert (error.extra, error.retry_after) == ({"port": 8100}, 3)
    assert problem_of(error) == sent


def test_a_problem_that_says_nothing_still_becomes_an_error() -> None:
    error = error_from_problem(418, {"detail": None, "self": 1})

    assert isinstance(error, BadRequest)
    assert (error.status, error.detail) == (418, "HTTP status 418")


def test_unlisted_statuses_have_a_class_too() -> None:
    assert error_for_status(410) is BadRequest
    assert error_for_status(599) is AlgoDockError
