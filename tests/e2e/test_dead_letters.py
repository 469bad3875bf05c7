"""Dead letters on a running platform: by REST and by the command; and what owners limit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.outside.platform import Platform, algodock, eventually

ALGORITHM = """
import pathlib

def predict(mark: str):
    if not pathlib.Path(mark).exists():
        raise LookupError("the mark is not there yet")
    return {"found": mark}
"""


@pytest.mark.timeout(900)
def test_a_failed_task_is_listed_shown_and_replayed_and_its_result_is_gone_when_its_time_is_over(
    platform: Platform, tmp_path: Path
) -> None:
    repository = platform.repository(tmp_path, "letters")
    commit = repository.commit({"ai_algorithm.py": ALGORITHM})
    repository.push()
    platform.until_live(repository.name, commit)
    home = Path(platform.environment["ALGODOCK_DATA_DIR"]) / "services" / repository.name / "home"
    mark = home / "tmp" / "mark"
    body = {"algorithm": repository.name, "input": {"mark": str(mark)}}

    task = platform.call("POST", "/api/v1/tasks", json=body).json()["id"]
    assert platform.finished(task)["state"] == "failed"
    listed = _command(platform, "list", "--algorithm", repository.name)
    assert [(one["id"], one["error_type"]) for one in listed["dead_letters"]] == [(task, "LookupError")]
    assert platform.call("GET", f"/api/v1/dead-letters/{task}").json() == _command(platform, "show", task)
    assert platform.call("GET", "/api/v1/dead-letters/" + task.replace("-", "0")).status_code in {404, 422}

    mark.parent.mkdir(exist_ok=True)
    mark.write_text("")
    limits = {"limits": {"result_ttl_s": 1}}
    assert platform.call("PATCH", f"/api/v1/algorithms/{repository.name}", json=limits).status_code == 200
    again = _command(platform, "replay", task)["task_id"]
    assert platform.finished(again)["state"] == "succeeded"
    assert platform.call("POST", f"/api/v1/dead-letters/{task}/replay").json()["task_id"] == again
    assert not _command(platform, "list", "--algorithm", repository.name, "--not-replayed")["dead_letters"]

    def gone() -> dict[str, Any] | None:
        answer = platform.result(again)
        return answer.json() if answer.status_code == 410 else None

    problem = eventually(gone)
    assert problem is not None
    assert (problem["reason"], problem["status"]) == ("age", 410)
    assert "was removed at" in problem["detail"]


def _command(platform: Platform, *words: str) -> Any:
    return json.loads(algodock(platform.environment, "dead-letters", *words, "--json"))
