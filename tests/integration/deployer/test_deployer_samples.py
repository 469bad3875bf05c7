"""The promotion gate: what a new release has to answer before it gets the traffic."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Deployer

DIES = """def do_POST(self):
        print("ValueError: no", file=__import__("sys").stderr, flush=True)
        os._exit(3)"""


SCHEMA = {"properties": {"version": {"type": "integer"}}}
OPENAPI = {
    "paths": {"/predict": {"post": {"responses": {"200": {"content": {"application/json": {"schema": SCHEMA}}}}}}}
}


def sampled(deployer: Deployer, version: str, *, openapi: Any = None, **sample: Any) -> dict[str, str]:
    """Return a program whose answer is its version, and one sample of it."""
    files = deployer.program(version)
    if openapi is not None:
        chosen = f"json.dumps({openapi!r} if self.path == '/openapi.json' else {{"
        files["main.py"] = files["main.py"].replace("json.dumps({", chosen)
    return files | {"samples/one.json": json.dumps({"input": {"a": 1}, **sample})}


async def test_a_release_whose_samples_pass_says_so_and_serves(deployer: Deployer) -> None:
    release = await deployer.live("proven", sampled(deployer, "one", expected={"version": "one"}, max_ms=5000))
    step = next(one for one in release.steps if one["name"] == "samples")
    assert step["detail"] == "1 of 1 passed"
    names = [one["name"] for one in release.steps]
    assert names.index("probe") < names.index("samples") < names.index("switch")


BAD_SAMPLES: dict[str, tuple[dict[str, Any], str]] = {
    "unexpected": ({"expected": {"version": "one"}}, "samples: one.json: $.version is 'two', expected 'one'"),
    "wrong-schema": (
        {"openapi": OPENAPI},
        "samples: one.json: the answer does not keep to the program's schema: $.version is 'two'",
    ),
    "too-slow": ({"max_ms": 0.0001}, "samples: one.json: took "),
    "no-file": ({"input": {"$file": "x.png"}}, "samples: one.json: there is no file 'x.png' beside it"),
    "wrong-key": ({"max_ms": "fast"}, "samples: one.json: max_ms must be a number above 0"),
}


@pytest.mark.parametrize("name", BAD_SAMPLES)
async def test_a_release_that_fails_its_samples_gets_no_traffic_and_leaves_nothing(
    deployer: Deployer, name: str
) -> None:
    sample, reason = BAD_SAMPLES[name]
    await deployer.live(name, sampled(deployer, "one", expected={"version": "one"}))
    commit = await deployer.push(name, sampled(deployer, "two", **sample))
    failed = await deployer.release(name, commit, "failed", "live")
    assert failed.state == "failed"
    assert failed.reason.startswith(reason), failed.reason
    assert (await deployer.answer(name))["version"] == "one"
    assert len(await deployer.processes.look_all()) == 1
    assert len(deployer.registry.leases) == 1


async def test_a_program_that_dies_of_a_sample_fails_with_its_last_words(deployer: Deployer) -> None:
    files = sampled(deployer, "one")
    files["main.py"] = files["main.py"].replace("do_POST = do_GET", DIES)
    commit = await deployer.push("dies", files)
    failed = await deployer.release("dies", commit, "failed", "live")
    # without its code when supervisord had started it again before it was looked at
    assert re.match(r"samples: one\.json: the program exited( with code 3)?: ValueError: no", failed.reason), (
        failed.reason
    )
    assert not deployer.registry.leases
    assert not await deployer.processes.look_all(), "what failed at the gate is not left for the next release to find"


async def test_a_sample_that_is_not_to_be_checked_is_not_run(deployer: Deployer) -> None:
    release = await deployer.live("unchecked", sampled(deployer, "one", expected={"version": "else"}, check=False))
    assert next(one for one in release.steps if one["name"] == "samples")["detail"] == "0 of 0 passed"


async def test_what_was_live_before_is_not_kept_waiting_by_its_samples(deployer: Deployer) -> None:
    release = await deployer.live("again", sampled(deployer, "one", expected={"version": "one"}))
    await deployer.command("again", "restart")

    await deployer.status("again", "running")
    found = await deployer.release("again", release.commit, "live")
    assert found.id == release.id
