"""What a sample may expect of an answer, and what the program's own schema says of it."""

from __future__ import annotations

import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from algodock_deployer.clients.samples import read_samples, with_files
from algodock_deployer.domain.answers import answer_schema, difference, misfit
from algodock_deployer.domain.errors import SampleFailed
from algodock_deployer.domain.samples import Reply, Sample, judge, sample_of
from algodock_deployer.handlers.proving import _run

JSON = "application/json"
SCHEMA = {
    "type": "object",
    "required": ["label"],
    "properties": {
        "label": {"enum": ["cat", "dog"]},
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "boxes": {"type": "array", "items": {"$ref": "#/components/schemas/Box"}},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
}
OPENAPI = {
    "paths": {"/predict": {"post": {"responses": {"200": {"content": {JSON: {"schema": SCHEMA}}}}}}},
    "components": {"schemas": {"Box": {"type": "array", "items": {"type": "integer"}}}},
}


def reply(document: Any, status: int = 200, took_ms: float = 5) -> Reply:
    return Reply(status, took_ms, JSON, is_json=True, document=document, text=str(document))


@pytest.mark.parametrize(
    ("expected", "answer", "where"),
    [
        ({"a": 1}, {"a": 1, "took": 3}, None),
        ({"a": {"b": [1, 2.0]}}, {"a": {"b": [1.0000001, 2]}}, None),
        ({"a": 1}, {}, "$.a is missing"),
        ([1, 2], [1], "$ has 1 items, expected 2"),
        ({"a": [{"b": "x"}]}, {"a": [{"b": "y"}]}, "$.a[0].b is 'y', expected 'x'"),
        (1, True, "$ is True, expected 1"),
        (None, {}, "$ is {}, expected None"),
        (0.5, 0.6, "$ is 0.6, expected 0.5"),
    ],
)
def test_an_answer_is_what_was_expected_or_it_is_said_where_not(expected: Any, answer: Any, where: str | None) -> None:
    assert difference(expected, answer) == where


@pytest.mark.parametrize(
    ("answer", "where"),
    [
        ({"label": "cat", "score": 0.5, "boxes": [[1, 2]], "note": None, "more": 1}, None),
        ({"score": 0.5}, "$.label is missing"),
        ({"label": "cow"}, "$.label is 'cow', the schema says one of"),
        ({"label": "cat", "score": 2}, "maximum is 1"),
        ({"label": "cat", "score": "high"}, "$.score is 'high', the schema says number"),
        ({"label": "cat", "boxes": [[1, 2.5]]}, "$.boxes[0][1] is 2.5, the schema says integer"),
        ({"label": "cat", "note": 3}, "$.note is 3, which fits none"),
        ([], "$ is [], the schema says object"),
    ],
)
def test_an_answer_keeps_to_the_programs_schema_or_it_is_said_where_not(answer: Any, where: str | None) -> None:
    found = misfit(answer_schema(OPENAPI), answer, OPENAPI)
    assert (found is None) if where is None else (where in str(found))


def test_a_schema_that_refers_to_itself_for_ever_is_given_up_on() -> None:
    knot: dict[str, Any] = {"x": {"allOf": [{"$ref": "#/x"}, {"$ref": "#/x"}]}}
    began = time.process_time()
    assert misfit(knot["x"], 1, knot) is None
    assert time.process_time() - began < 30  # without a bound it is years


@pytest.mark.parametrize(
    ("sample", "answer", "reason"),
    [
        ({}, reply({"label": "cat"}, status=500), "a.json: POST /predict answered 500: {'label': 'cat'}"),
        ({}, reply({"label": "cow"}), "a.json: the answer does not keep to the program's schema: $.label"),
        ({"expected": {"label": "dog"}}, reply({"label": "cat"}), "a.json: $.label is 'cat', expected 'dog'"),
        ({"max_ms": 3}, reply({"label": "cat"}), "a.json: took 5 ms, max_ms is 3"),
        ({}, Reply(200, 1, JSON, text="<html>"), "a.json: the answer is called application/json and is none: <html>"),
        ({"expected": None}, Reply(200, 1, "image/png"), "a.json: expected JSON, got image/png"),
        (
            {},
            Reply(200, 1, "text/event-stream", text='event: error\ndata: {"status":500}'),
            "a.json: the stream ended with an error",
        ),
    ],
)
def test_a_reply_that_is_not_as_the_sample_says_is_refused(sample: dict[str, Any], answer: Reply, reason: str) -> None:
    with pytest.raises(SampleFailed, match=re.escape(reason)):
        judge(sample_of("a.json", {"input": 1, **sample}), answer, OPENAPI)


def test_a_reply_that_is_as_it_should_be_passes() -> None:
    judge(Sample("a.json", 1, {"label": "cat"}, expects=True, max_ms=6), reply({"label": "cat"}), OPENAPI)
    judge(Sample("a.json", 1), Reply(200, 1, "image/png"), OPENAPI)


@pytest.mark.parametrize("wrong", [{"max_ms": "fast"}, {"max_ms": 0}, {"max_ms": True}, {"check": "no"}])
def test_a_sample_with_a_wrong_key_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SampleFailed, match=rf"a\.json: {next(iter(wrong))} must be"):
        sample_of("a.json", {"input": 1, **wrong})


def test_a_file_beside_a_sample_goes_into_its_input(tmp_path: Path) -> None:
    (tmp_path / "samples" / "in").mkdir(parents=True)
    (tmp_path / "samples" / "in" / "x.png").write_bytes(b"png")
    (tmp_path / "samples" / "a.json").write_text('[{"input": {"image": [{"$file": "in/x.png"}]}}, {"no": "sample"}]')
    found, files = read_samples(tmp_path, tmp_path / "samples")
    assert [file for file, _ in found] == ["a.json"]
    assert with_files("a.json", found[0][1]["input"], files) == {"image": [{"$file": "data:image/png;base64,cG5n"}]}
    assert with_files("a.json", {"$file": "data:,x"}, files) == {"$file": "data:,x"}
    with pytest.raises(SampleFailed, match=r"there is no file '\.\./secret' beside it"):
        with_files("a.json", {"$file": "../secret"}, files)


def test_links_that_a_build_left_lead_to_no_sample(tmp_path: Path) -> None:
    """The platform reads samples as itself: what a link leads to may be nobody else's to read."""
    outside, code = tmp_path / "outside", tmp_path / "code"
    for folder in (outside, code / "samples"):
        folder.mkdir(parents=True)
    (outside / "secret.json").write_text('{"input": "secret"}')
    (code / "samples" / "own.json").write_text('{"input": 1}')
    (code / "samples" / "link.json").symlink_to(outside / "secret.json")
    (code / "samples" / "link.png").symlink_to(outside / "secret.json")
    (code / "samples" / "folder").symlink_to(outside)
    (code / "elsewhere").symlink_to(outside)
    assert read_samples(code, code / "samples") == ([("own.json", {"input": 1})], {})
    assert read_samples(code, code / "elsewhere") == ([], {})


@pytest.mark.parametrize(("took", "passes"), [((900, 5), True), ((5,), True), ((900, 800), False)])
async def test_one_that_is_too_slow_has_a_second_try_because_the_first_may_have_loaded_a_model(
    took: tuple[float, ...],
    passes: bool,  # noqa: FBT001  # pytest's
) -> None:
    replies = [reply({"label": "cat"}, took_ms=one) for one in took]

    async def predict(*_: object, **__: object) -> Reply:
        return replies.pop(0)

    context = cast("Any", SimpleNamespace(prober=SimpleNamespace(predict=predict)))
    instance = cast("Any", SimpleNamespace(base_url="http://127.0.0.1:1"))
    running = _run(context, Sample("a.json", 1, max_ms=100), instance, 1, OPENAPI, 30)
    if passes:
        await running
    else:
        with pytest.raises(SampleFailed, match="took 800 ms, max_ms is 100"):
            await running
    assert not replies
