"""Models of Hugging Face and ModelScope: pinned, shared, refused, and what the hubs say."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import TestServer

from algodock_deployer.clients.model_hubs import modelscope_endpoint
from algodock_deployer.domain.errors import (
    ModelDamaged,
    ModelNotFound,
    ModelRefused,
    ModelSourceAway,
)
from algodock_deployer.domain.model_sources import HubModel

from .model_origin import COMMITS, CONTENT, Machine, Origin, sha256


async def test_a_hubs_file_is_pinned_to_its_commit_and_comes_from_where_the_hub_says(machine: Machine) -> None:
    cdn = Origin({"onnx/model.bin": CONTENT})
    async with TestServer(cdn.application()) as server:
        machine.origin.files["onnx/model.bin"] = CONTENT
        machine.origin.cdn = str(server.make_url("")).rstrip("/")
        machine.trusted += (machine.origin.cdn,)
        source = HubModel("hf", "owner/name", "main", "onnx/model.bin")
        kept = await machine.cache().keep(source, None)
        again = await machine.cache().keep(source, None)
    assert (kept.place.name, kept.fetched, again.fetched) == (sha256(CONTENT), len(CONTENT), 0)
    assert ("GET", f"/owner/name/resolve/{COMMITS[0]}/onnx/model.bin", "") in machine.origin.asked
    assert len(cdn.fetched("model.bin")) == 1


async def test_a_hub_is_not_asked_for_what_is_pinned_and_here(machine: Machine) -> None:
    machine.origin.files["x.bin"] = CONTENT
    branch = HubModel("hf", "owner/name", "main", "x.bin")
    first = await machine.cache().keep(branch, None)
    machine.origin.status = 500
    for source, digest in ((branch, sha256(CONTENT)), (HubModel("hf", "owner/name", COMMITS[0], "x.bin"), None)):
        assert (await machine.cache().keep(source, digest)).place == first.place
    with pytest.raises(ModelSourceAway):
        await machine.cache().keep(branch, None)


async def test_a_hubs_repository_is_a_folder_that_shares_its_files(machine: Machine) -> None:
    machine.origin.files = {"config.json": b"{}", "onnx/model.bin": CONTENT}
    source = HubModel("hf", "owner/name", "main")
    first = await machine.cache().keep(source, None)
    assert (first.place / "config.json").read_bytes() == b"{}"
    assert (first.place / "onnx" / "model.bin").read_bytes() == CONTENT
    assert {path.name for path in first.blobs} == {sha256(b"{}"), sha256(CONTENT)}
    again = await machine.cache().keep(source, None)
    assert (again.place, again.fetched) == (first.place, 0)
    machine.origin.files["config.json"], machine.origin.at = b"{ }", 1
    newer = await machine.cache().keep(source, None)
    assert newer.fetched == 3
    assert newer.place != first.place
    assert (newer.place / "onnx" / "model.bin").resolve() == (first.place / "onnx" / "model.bin").resolve()


async def test_modelscope_is_read_by_its_own_urls(machine: Machine) -> None:
    machine.origin.files = {"config.json": b"{}", "onnx/model.bin": CONTENT}
    one = await machine.cache().keep(HubModel("modelscope", "owner/name", "master", "onnx/model.bin"), None)
    assert one.place.read_bytes() == CONTENT
    whole = await machine.cache().keep(HubModel("modelscope", "owner/name", "master"), None)
    assert (whole.place / "config.json").read_bytes() == b"{}"
    assert whole.fetched == 2
    with pytest.raises(ModelNotFound, match=r"modelscope://owner/name@master has no nothing.bin"):
        await machine.cache().keep(HubModel("modelscope", "owner/name", "master", "nothing.bin"), None)
    assert modelscope_endpoint("") == "https://www.modelscope.cn"
    assert modelscope_endpoint("mirror.example.com") == "https://mirror.example.com"


@pytest.mark.parametrize(("status", "error"), [(404, ModelNotFound), (401, ModelRefused), (500, ModelSourceAway)])
@pytest.mark.parametrize("file", ["", "x.bin"])
async def test_a_hub_that_will_not_is_said(machine: Machine, status: int, error: type[Exception], file: str) -> None:
    machine.origin.files["x.bin"], machine.origin.status = CONTENT, status
    with pytest.raises(error, match="owner/name"):
        await machine.cache().keep(HubModel("hf", "owner/name", "main", file), None)


@pytest.mark.parametrize("path", ["../../evil", "/etc/evil", "a/../../b", "a\\b"])
async def test_a_hub_that_names_a_path_outside_is_refused(machine: Machine, path: str) -> None:
    machine.origin.files["config.json"], machine.origin.odd_path = b"{}", path
    with pytest.raises(ModelDamaged, match="would leave its folder"):
        await machine.cache().keep(HubModel("hf", "owner/name", "main"), None)
