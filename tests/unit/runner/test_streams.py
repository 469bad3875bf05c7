"""What algorithms say while they work, in both forms, whole, in pieces, broken and too large."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from algodock_runner.clients.answers import AttemptFailed
from algodock_runner.clients.streams import EVENTS, receive_stream
from algodock_runner.domain.retry import Kind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NDJSON = "application/x-ndjson"
MIB = 2**20


class Heard(list[tuple[str, Any]]):
    """A listener that keeps what it hears."""

    def say(self, kind: str, data: dict[str, Any]) -> None:
        self.append((kind, data))


async def pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def read(body: bytes, kind: str, *, size: int = 64, limit: int = MIB) -> tuple[str, bytes, Heard]:
    heard = Heard()
    answer = await receive_stream(pieces(body, size), kind, listener=heard, limit=limit)
    assert answer.data is not None
    assert answer.size == len(answer.data)
    return answer.content_type, answer.data, heard


def events(*said: tuple[str, str]) -> bytes:
    return "".join(f"event: {name}\ndata: {data}\n\n" for name, data in said).encode()


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
async def test_events_are_heard_however_they_are_cut(size: int, newline: bytes) -> None:
    body = events(
        ("progress", '{"progress": 0.5, "message": "half ü"}'),
        ("log", '{"level": "INFO", "message": "loaded", "logger": "me"}'),
        ("output", '{"label": "cat"}'),
        ("done", '{"outputs": 1}'),
    ).replace(b"\n", newline)
    kind, result, heard = await read(b": hello" + newline + newline + body, EVENTS, size=size)
    assert heard == [
        ("progress", {"progress": 0.5, "message": "half ü"}),
        ("log", {"level": "INFO", "message": "loaded", "logger": "me"}),
        ("output", {"output": {"label": "cat"}}),
    ]
    assert (kind, json.loads(result)) == ("application/json", {"label": "cat"})


@pytest.mark.parametrize(
    ("done", "result"),
    [
        ('{"outputs": 2, "result": [1, 2]}', [1, 2]),
        ('{"outputs": 2, "result": null}', None),
        ('{"outputs": 2}', "second"),
        ("", "second"),
        ("true", "second"),
        ('{"label": "dog"}', {"label": "dog"}),
        ("1", 1),
        ("[]", []),
    ],
)
async def test_the_result_is_what_done_carries_else_the_last_output(done: str, result: Any) -> None:
    body = events(("output", '"first"'), ("output", '"second"'), ("done", done))
    _, data, heard = await read(body, EVENTS)
    assert json.loads(data) == result
    assert [data["output"] for _, data in heard] == ["first", "second"]


async def test_a_picture_at_the_end_keeps_its_content_type() -> None:
    body = events(("progress", "0.1"), ("done", '{"content_type": "image/png", "base64": "iVBORw=="}'))
    assert (await read(body, EVENTS))[:2] == ("image/png", b"\x89PNG")
    with pytest.raises(AttemptFailed, match="base64"):
        await read(events(("done", '{"content_type": "image/png", "base64": "%%"}')), EVENTS)


async def test_services_that_send_plain_data_and_done_in_brackets_are_understood() -> None:
    body = b'data: {"delta": "a"}\n\ndata: some\ndata: text\n\ndata: [DONE]\n\ndata: {"delta": "late"}\n\n'
    _, result, heard = await read(body, EVENTS)
    assert [data["output"] for _, data in heard] == [{"delta": "a"}, "some\ntext"]
    assert json.loads(result) == "some\ntext"


@pytest.mark.parametrize("body", [b"", events(("output", "1")), b"event: done\ndata: 1\n"])
async def test_events_that_break_off_before_done_are_a_lost_connection(body: bytes) -> None:
    with pytest.raises(AttemptFailed) as failed:
        await read(body, EVENTS)
    assert failed.value.failure.kind is Kind.TRANSIENT
    assert failed.value.failure.error.type == "ConnectionLost"


@pytest.mark.parametrize(
    ("data", "kind", "type_", "message"),
    [
        (
            (
                '{"title": "The algorithm failed", "status": 500, "detail": "ValueError: bad",'
                ' "type": "about:blank", "error": {"type": "ValueError", "message": "bad"}}'
            ),
            Kind.PERMANENT,
            "ValueError",
            "ValueError: bad",
        ),
        ('{"title": "Busy", "status": 503, "detail": "later"}', Kind.TRANSIENT, "Busy", "later"),
        ('{"type": "OutOfMemory", "message": "no room"}', Kind.PERMANENT, "OutOfMemory", "no room"),
        ('"it broke"', Kind.PERMANENT, "AlgorithmFailed", "it broke"),
        ("plain words", Kind.PERMANENT, "AlgorithmFailed", "plain words"),
        ("{}", Kind.PERMANENT, "AlgorithmFailed", "it gave no reason"),
    ],
)
async def test_an_error_fails_the_attempt_with_its_type_and_message(
    data: str, kind: Kind, type_: str, message: str
) -> None:
    with pytest.raises(AttemptFailed) as failed:
        await read(events(("output", "1"), ("error", data)), EVENTS)
    failure = failed.value.failure
    assert (failure.kind, failure.error.type, failure.error.message) == (kind, type_, message)


def lines(*values: Any) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_lines_are_heard_and_the_last_value_is_the_result(size: int) -> None:
    body = lines({"progress": 0.25}, {"log": "hi", "level": "DEBUG"}, {"step": 1}, "", {"output": 2}, {"label": "cat"})
    kind, result, heard = await read(body.rstrip(b"\n"), NDJSON, size=size)
    assert heard == [
        ("progress", {"progress": 0.25}),
        ("log", {"level": "DEBUG", "message": "hi"}),
        ("output", {"output": {"step": 1}}),
        ("output", {"output": ""}),
        ("output", {"output": 2}),
        ("output", {"output": {"label": "cat"}}),
    ]
    assert (kind, json.loads(result)) == ("application/json", {"label": "cat"})


@pytest.mark.parametrize(
    ("last", "result"),
    [
        ({"done": True}, 1),
        ({"done": True, "result": [2]}, [2]),
        ({"done": {"label": "cat"}}, {"label": "cat"}),
        ({"result": None}, None),
    ],
)
async def test_lines_may_say_their_result(last: Any, result: Any) -> None:
    _, data, _ = await read(lines({"output": 1}, last, {"output": "late"}), NDJSON)
    assert json.loads(data) == result


async def test_nothing_said_is_null() -> None:
    assert (await read(b"", NDJSON))[1] == b"null"
    assert (await read(lines({"progress": 1}), NDJSON))[1] == b"null"


async def test_a_line_that_is_no_json_fails_for_good_and_says_which() -> None:
    with pytest.raises(AttemptFailed, match="line 2") as failed:
        await read(b'{"output": 1}\n{"outp\n', NDJSON)
    assert failed.value.failure.kind is Kind.PERMANENT
    with pytest.raises(AttemptFailed, match="line 1"):
        await read(b"NaN\n", NDJSON)
    with pytest.raises(AttemptFailed, match="line 1"):
        await read(b"[" * 100_000 + b"\n", NDJSON, size=10_000)


async def test_an_error_line_fails_the_attempt() -> None:
    with pytest.raises(AttemptFailed) as failed:
        await read(lines({"error": {"type": "KeyError", "message": "x"}}), NDJSON)
    assert failed.value.failure.error.type == "KeyError"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (NDJSON, b'"' + b"x" * 5000),
        (EVENTS, b"data: " + b"x" * 5000),
        (EVENTS, b"data: 12345678\n" * 500),
        (NDJSON, lines("x" * 2000)),
        (EVENTS, b'event: done\ndata: {"result": "' + 400 * "ü".encode() + b'"}\n\n'),  # as it is stored
    ],
)
async def test_a_part_that_is_too_large_fails_for_good(kind: str, body: bytes) -> None:
    with pytest.raises(AttemptFailed, match="larger than 1000") as failed:
        await read(body, kind, limit=1000)
    assert failed.value.failure.error.type == "ResultTooLarge"


@pytest.mark.parametrize("said", ['{"progress": "half"}', "null", '"words"', "true", '{"other": 1}', "[1]"])
async def test_a_progress_that_is_none_is_passed_over(said: str) -> None:
    _, _, heard = await read(events(("progress", said), ("ping", "1"), ("done", "1")), EVENTS)
    assert heard == []
