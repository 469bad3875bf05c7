"""The documents as a reader has them before the eyes: at a desk and on a phone, with a key, without a way out."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.outside.browser import Page, open_page
from tests.outside.platform import Platform

pytestmark = pytest.mark.timeout(300)

SHOWN = {
    "/docs": "document.querySelectorAll('.opblock').length > 20",
    "/redoc": "document.querySelector('[data-section-id]') && document.querySelector('a[href*=\"redocly.com\"]')",
    "/asyncapi": "document.querySelector('#task\\\\.requested')",
}
SUBMIT = "#operations-tasks-submit_api_v1_tasks_post"


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    chromium = shutil.which(os.environ.get("CHROMIUM") or "chromium")
    assert chromium, "Chromium is not on this machine (apt-get install chromium), and CHROMIUM names none"
    async with open_page(chromium, tmp_path / "profile") as opened:
        yield opened


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("path", sorted(SHOWN))
async def test_a_document_is_readable_and_asks_nobody_else(
    platform: Platform, page: Page, path: str, width: int
) -> None:
    await page.show(platform.url + path, width=width)
    await page.until(f"!!({SHOWN[path]})")
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    assert {
        one for one in page.requests if not one.startswith((f"{platform.url}/", f"blob:{platform.url}/", "data:"))
    } == set()
    assert [one for one in page.answers if one[0] >= 400] == []
    assert page.complaints == []


@pytest.mark.parametrize("path", ["/docs", "/asyncapi"])
async def test_a_document_has_the_colours_that_the_reader_prefers(platform: Platform, page: Page, path: str) -> None:
    lightness = []
    for scheme in ("light", "dark"):
        await page.show(platform.url + path, width=1440, scheme=scheme)
        await page.until(f"!!({SHOWN[path]})")
        colour = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        lightness.append(int(colour.removeprefix("rgb(").split(",")[0]))
    assert lightness[0] > 200
    assert lightness[1] < 60


@pytest.mark.parametrize("width", [1440, 390])
async def test_a_task_is_submitted_from_the_page_with_the_key(platform: Platform, page: Page, width: int) -> None:
    name = f"browsed-{uuid4().hex[:6]}"
    assert platform.call("POST", "/api/v1/algorithms", json={"name": name}).status_code == 201

    await page.show(f"{platform.url}/docs", width=width)
    await page.click(".auth-wrapper .authorize")
    await page.write(".auth-container input", platform.api_key)
    await page.click(".auth-btn-wrapper .authorize")
    await page.click(".auth-btn-wrapper .btn-done")
    await page.click(f"{SUBMIT} .opblock-summary-control")
    await page.click(f"{SUBMIT} .try-out__btn")
    await page.until(f"document.querySelector('{SUBMIT} textarea')")
    shown = json.loads(await page.evaluate(f"document.querySelector('{SUBMIT} textarea').value"))
    assert shown["algorithm"] == "text-classify", "the example is one that can be sent as it stands"
    await page.write(f"{SUBMIT} textarea", json.dumps({"algorithm": name, "input": {"x": 1}}))
    await page.click(f"{SUBMIT} .execute")

    answered = f"document.querySelector('{SUBMIT} .live-responses-table tbody .response-col_status')"
    assert (await page.until(f"{answered}?.innerText")).startswith("202")
    body = await page.evaluate(f"document.querySelector('{SUBMIT} .live-responses-table .highlight-code').innerText")
    task = next(one for one in platform.call("GET", "/api/v1/tasks", params={"algorithm": name}).json()["tasks"])
    assert task["id"] in body
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.complaints == []
