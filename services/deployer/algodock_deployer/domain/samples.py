"""A repository's samples: example calls that people see, and that a new release has to pass before it gets traffic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from algodock_deployer.domain.answers import answer_schema, difference, misfit
from algodock_deployer.domain.errors import SampleFailed

__all__ = ["Reply", "Sample", "judge", "sample_of"]

EVENTS = "text/event-stream"


@dataclass(frozen=True)
class Sample:
    """One example call; ``file`` is where it was found, ``max_ms`` how long its answer may take.

    Without ``expected`` any answer with success will do; ``check: false`` shows it and never runs it.
    """

    file: str
    input: Any
    expected: Any = None
    expects: bool = False
    max_ms: float | None = None
    check: bool = True


@dataclass(frozen=True)
class Reply:
    """What came back: ``document`` is the body where ``is_json``; ``took_ms`` until its last byte."""

    status: int
    took_ms: float
    content_type: str = ""
    is_json: bool = False
    document: Any = None
    text: str = ""


def sample_of(file: str, document: dict[str, Any]) -> Sample:
    """Return the sample that a file holds.

    Raises:
        SampleFailed: ``max_ms`` is no number above 0, or ``check`` is neither true nor false.
    """
    max_ms, check = document.get("max_ms"), document.get("check", True)
    if max_ms is not None and (isinstance(max_ms, bool) or not isinstance(max_ms, int | float) or max_ms <= 0):
        raise SampleFailed(f"{file}: max_ms must be a number above 0, not {max_ms!r}")
    if not isinstance(check, bool):
        raise SampleFailed(f"{file}: check must be true or false, not {check!r}")
    return Sample(file, document["input"], document.get("expected"), "expected" in document, max_ms, check)


def judge(sample: Sample, reply: Reply, openapi: Any) -> None:
    """Return when the reply is what the sample and the program's own schema say.

    Raises:
        SampleFailed: it is not, with the sample's file and the place in the answer.
    """
    if not 200 <= reply.status < 300:  # noqa: PLR2004  # HTTP's success
        raise SampleFailed(f"{sample.file}: POST /predict answered {reply.status}: {reply.text}".rstrip(": "))
    if reply.content_type.startswith(EVENTS) and _failed_in_stream(reply.text):
        raise SampleFailed(f"{sample.file}: the stream ended with an error: {reply.text}")
    if "json" in reply.content_type:
        if not reply.is_json:
            raise SampleFailed(f"{sample.file}: the answer is called {reply.content_type} and is none: {reply.text}")
        if wrong := misfit(answer_schema(openapi), reply.document, openapi):
            raise SampleFailed(f"{sample.file}: the answer does not keep to the program's schema: {wrong}")
    if sample.expects:
        if not reply.is_json:
            raise SampleFailed(f"{sample.file}: expected JSON, got {reply.content_type or 'no content type'}")
        if wrong := difference(sample.expected, reply.document):
            raise SampleFailed(f"{sample.file}: {wrong}")
    if sample.max_ms is not None and reply.took_ms > sample.max_ms:
        raise SampleFailed(f"{sample.file}: took {reply.took_ms:.0f} ms, max_ms is {sample.max_ms:g}")


def _failed_in_stream(text: str) -> bool:
    return any(line.rstrip() == "event: error" for line in text.splitlines())
