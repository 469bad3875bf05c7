"""What becomes of another service's problem document on its way out."""

from __future__ import annotations

import json
from typing import Any

from algodock_gateway.routes.outer_problems import OuterProblems

PROBLEM = {"title": "No", "status": 404, "detail": "gibt es nicht – 没有", "instance": "/internal/tasks/7"}


class Caller:
    def __init__(self) -> None:
        self.got: list[Any] = []

    async def __call__(self, message: Any) -> None:
        self.got.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(one["body"] for one in self.got[1:])


def head(status: int, kind: bytes, length: int) -> dict[str, Any]:
    headers = [(b"content-type", kind), (b"content-length", b"%d" % length), (b"retry-after", b"2")]
    return {"type": "http.response.start", "status": status, "headers": headers}


def part(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def test_a_problem_in_pieces_names_the_path_that_was_asked_for() -> None:
    caller = Caller()
    outer = OuterProblems(caller, "/api/v1/tasks/7")
    document = json.dumps(PROBLEM).encode()
    await outer(head(404, b"application/problem+json", len(document)))
    await outer(part(document[:20], more=True))
    assert caller.got == []
    held = [outer.holds_back]
    await outer(part(document[20:], more=True))
    await outer(part(b""))
    assert [*held, outer.holds_back] == [True, False]
    assert json.loads(caller.body) == PROBLEM | {"instance": "/api/v1/tasks/7"}
    headers = dict(caller.got[0]["headers"])
    assert headers[b"content-length"] == b"%d" % len(caller.body)
    assert headers[b"retry-after"] == b"2"


async def test_everything_else_goes_through_as_it_comes() -> None:
    for status, kind in ((200, b"application/problem+json"), (404, b"application/json")):
        caller = Caller()
        outer = OuterProblems(caller, "/outside")
        messages = [head(status, kind, 2), part(b"{", more=True), part(b"}")]
        for at, message in enumerate(messages):
            await outer(message)
            assert caller.got == messages[: at + 1]


async def test_the_answer_to_a_head_and_what_is_no_object_are_left_alone() -> None:
    for body in (b"", b"[1]", b"oh no"):
        caller = Caller()
        outer = OuterProblems(caller, "/outside")
        messages = [head(404, b"application/problem+json", 99), part(body)]
        for message in messages:
            await outer(message)
        assert caller.got == messages


async def test_a_document_without_end_is_not_kept() -> None:
    caller = Caller()
    outer = OuterProblems(caller, "/outside")
    await outer(head(500, b"application/problem+json", 200_000))
    for _ in range(20):
        await outer(part(b"x" * 10_000, more=True))
    await outer(part(b""))
    assert caller.body == b"x" * 200_000
