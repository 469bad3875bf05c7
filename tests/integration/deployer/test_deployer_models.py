"""A release's models: linked from the machine's cache, told as a step, there again without their source."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from algodock_deployer import handlers

if TYPE_CHECKING:
    from .conftest import Deployer

READS = """
import os
text = open("models/words.txt").read()
assert os.path.islink("models/words.txt")
"""


def files(deployer: Deployer, version: str, **model: str) -> dict[str, str]:
    wanted = {"path": "models/words.txt", "from": "s3://models/words.txt", **model}
    return deployer.program(version, before=READS) | {"algodock.yaml": json.dumps({"models": [wanted]})}


async def test_releases_share_a_model_that_is_fetched_once(deployer: Deployer) -> None:
    content = b"a\nb\n" * 1000
    await deployer.store.put("models/words.txt", content)
    first = await deployer.live("reader", files(deployer, "one", sha256=hashlib.sha256(content).hexdigest()))
    second = await deployer.live("reader", files(deployer, "two"))
    details = [
        next(step["detail"] for step in release.steps if step["name"] == "models") for release in (first, second)
    ]
    assert details == ["1 model, 3.9 KiB; 3.9 KiB fetched", "1 model, 3.9 KiB; nothing fetched"]
    assert [step["name"] for step in second.steps][:4] == ["fetch", "detect", "models", "environment"]
    places = {
        (deployer.context.folders.code("reader", one.id) / "models/words.txt").resolve() for one in (first, second)
    }
    assert len(places) == 1
    (blob,) = places
    assert blob.read_bytes() == content
    await handlers.clean(deployer.context)
    assert blob.exists()

    await deployer.store.remove("models/words.txt")
    await deployer.command("reader", "rollback")
    await deployer.release("reader", first.commit, "live")
    assert (await deployer.answer("reader"))["version"] == "one"


async def test_a_model_that_is_not_there_or_another_one_fails_the_release(deployer: Deployer) -> None:
    commit = await deployer.push("missing", files(deployer, "one"))
    failed = await deployer.release("missing", commit, "failed")
    assert failed.reason.startswith("models: there is no s3://models/words.txt in the platform's object store")
    await deployer.store.put("models/words.txt", b"x")
    commit = await deployer.push("missing", files(deployer, "one", sha256="a" * 64))
    failed = await deployer.release("missing", commit, "failed")
    assert failed.reason.startswith("models: s3://models/words.txt has the sha256")
    await deployer.store.put("bundles/secret", b"x")
    commit = await deployer.push("missing", files(deployer, "one", **{"from": "s3://bundles/secret"}))
    failed = await deployer.release("missing", commit, "failed")
    assert "models are read from s3://models/ and from nowhere else" in failed.reason
