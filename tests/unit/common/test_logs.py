"""What a log line says, and what it never says."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from algodock_common.observability import get_logger, log_context, set_log_level, setup_logging, span
from algodock_common.settings import LogSettings


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers, root.level = handlers, level


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_line_has_service_trace_event_id_and_what_was_said(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(LogSettings(), service="runner")

    with span("consume", kind="consumer"), log_context(event_id="e1"):
        get_logger().info("task accepted", task="t1")

    (line,) = lines(capsys)
    assert (line["service"], line["event"], line["event_id"], line["task"]) == ("runner", "task accepted", "e1", "t1")
    assert len(line["trace_id"]) == 32
    assert line["timestamp"].endswith("Z")


def test_libraries_log_through_the_same_chain(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(LogSettings(), service="runner")

    logging.getLogger("some.library").warning("cannot reach %s", "the broker")

    (line,) = lines(capsys)
    assert (line["event"], line["level"], line["logger"]) == ("cannot reach the broker", "warning", "some.library")


def test_the_level_changes_while_the_process_runs(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(LogSettings(level="warning"), service="runner")
    log = get_logger()
    log.info("unheard")
    set_log_level("debug")
    log.debug("heard")
    logging.getLogger("some.library").debug("heard, too")

    assert [line["event"] for line in lines(capsys)] == ["heard", "heard, too"]


def test_credentials_are_masked(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(LogSettings(), service="runner")

    get_logger().info("calling", authorization="Bearer abc", callback_secret="whsec_abc", algorithm="echo")

    (line,) = lines(capsys)
    assert (line["authorization"], line["callback_secret"], line["algorithm"]) == ("***", "***", "echo")


def test_a_traceback_tells_the_place_and_not_the_local_variables(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(LogSettings(), service="runner")

    def fails(password: str) -> None:
        raise RuntimeError(f"no entry after {len(password)} letters")

    try:
        fails("hunter" + str(2) + "!")
    except RuntimeError:
        get_logger().exception("failed")

    out = capsys.readouterr().out
    assert "RuntimeError: no entry after 8 letters" in json.loads(out)["exception"]
    assert "hunter2!" not in out


def test_the_console_format_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(LogSettings(format="console"), service="runner")

    get_logger().info("service started", port=8010)

    out = capsys.readouterr().out
    assert "service started" in out
    assert "port=8010" in out
