"""A real browser, as a reader's: Chromium without a window, told what to do by its DevTools protocol.

Source: https://chromedevtools.github.io/devtools-protocol/.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

__all__ = ["Page", "open_page"]

PATIENCE_S = 30.0
_UNTIL = """new Promise(found => {
  const look = () => { const seen = (%s); if (seen) { watch.disconnect(); found(Object(seen) === seen || seen); } };
  const watch = new MutationObserver(look);
  watch.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
  look();
})"""


class _Wire:
    """Calls over one WebSocket; answers go to who asked, events to whoever listens."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.session: str | None = None
        self.heard: Callable[[str, dict[str, Any]], None] = lambda _method, _params: None

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        session = {"sessionId": self.session} if self.session else {}
        await self._socket.send_json({"id": number, "method": method, "params": params, **session})
        async with asyncio.timeout(PATIENCE_S):
            return await answer

    async def listen(self) -> None:
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" not in told:
                self.heard(told["method"], told["params"])
                continue
            answer = self._asked.pop(told["id"])
            if "error" in told:
                answer.set_exception(AssertionError(str(told["error"])))
            else:
                answer.set_result(told["result"])


class Page:
    """One tab. ``requests`` are the URLs it asked for; ``complaints`` what a developer would see in red."""

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire
        self._loaded = asyncio.Event()
        self.requests: list[str] = []
        self.answers: list[tuple[int, str]] = []
        self.complaints: list[str] = []
        wire.heard = self._hear

    def _hear(self, method: str, params: dict[str, Any]) -> None:
        match method:
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Network.responseReceived":
                self.answers.append((params["response"]["status"], params["response"]["url"]))
            case "Network.loadingFailed":
                self.complaints.append(f"failed: {params['errorText']} {params.get('blockedReason', '')}")
            case "Runtime.exceptionThrown":
                self.complaints.append(str(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in {"error", "warning"}:
                self.complaints.append(str(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] in {"error", "warning"}:
                self.complaints.append(params["entry"]["text"])
            case "Page.loadEventFired":
                self._loaded.set()

    async def show(self, url: str, *, width: int, scheme: str = "light") -> None:
        """Go to ``url`` in a window of that width, with light or dark colours preferred."""
        await self._wire.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        await self._wire.call(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
        )
        self._loaded.clear()
        await self._wire.call("Page.navigate", url=url)
        async with asyncio.timeout(PATIENCE_S):
            await self._loaded.wait()

    async def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, awaited if it is a promise."""
        told = await self._wire.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    async def until(self, expression: str) -> Any:
        """Return the value of an expression as soon as the page has changed so that it is true."""
        return await self.evaluate(_UNTIL % expression)

    async def click(self, selector: str) -> None:
        """Press and release the mouse in the middle of an element, once it is there."""
        chosen = json.dumps(selector)
        await self.until(f"!!document.querySelector({chosen})")
        x, y = await self.evaluate(
            f"(() => {{ const it = document.querySelector({chosen}); it.scrollIntoView({{block: 'center'}});"
            " const box = it.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self._wire.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def write(self, selector: str, text: str) -> None:
        """Write into a field in place of what it says."""
        chosen = json.dumps(selector)
        await self.until(f"!!document.querySelector({chosen})")
        await self.evaluate(f"(() => {{ const it = document.querySelector({chosen}); it.focus(); it.select(); }})()")
        await self._wire.call("Input.insertText", text=text)


@asynccontextmanager
async def open_page(chromium: str, folder: Path) -> AsyncIterator[Page]:
    """Start Chromium with an empty profile in ``folder`` and give its one tab."""
    flags = ["--headless=new", "--remote-debugging-port=0", f"--user-data-dir={folder}", "--no-first-run"]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")  # its sandbox does not work for root
    process = await asyncio.create_subprocess_exec(
        chromium, *flags, "about:blank", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        address = await _address(process)
        drain = asyncio.create_task(_drain(process))
        async with aiohttp.ClientSession() as http, http.ws_connect(address, max_msg_size=0) as socket:
            wire = _Wire(socket)
            listening = asyncio.create_task(wire.listen())
            made = await wire.call("Target.createTarget", url="about:blank")
            attached = await wire.call("Target.attachToTarget", targetId=made["targetId"], flatten=True)
            wire.session = attached["sessionId"]
            page = Page(wire)
            for domain in ("Page", "Network", "Runtime", "Log"):
                await wire.call(f"{domain}.enable")
            yield page
            listening.cancel()
    finally:
        process.terminate()
        await process.wait()
    await drain


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    said = []
    async with asyncio.timeout(PATIENCE_S):
        async for line in process.stderr:
            said.append(line.decode(errors="replace"))
            _, mark, address = said[-1].partition("DevTools listening on ")
            if mark:
                return address.strip()
    raise AssertionError("".join(said))


async def _drain(process: asyncio.subprocess.Process) -> None:
    assert process.stderr is not None
    while await process.stderr.read(65536):
        pass
