"""Ends the algorithms that run in containers with the platform; the Docker Engine would start them again for ever."""

from __future__ import annotations

import json
from http import HTTPStatus
from pathlib import Path

from algodock_cli.stack.errors import StackError

__all__ = ["end_containers"]

_STOP_S = 10
_ANSWER_S = 60.0


def end_containers(folder: Path) -> bool:
    """Stop and remove the containers that the deployer of this folder started; return whether there were any.

    Args:
        folder: where the deployer keeps a record of each, and in ``engine`` the URL of their Docker Engine.

    Raises:
        StackError: there are some, and the engine does not answer or refuses.
    """
    if not any(folder.glob("*.json")):
        return False
    import httpx

    url = (folder / "engine").read_text(encoding="utf-8")
    socket = url.removeprefix("unix://") if url.startswith("unix://") else None
    base = "http://docker" if socket else url.replace("tcp://", "http://")
    transport = httpx.HTTPTransport(uds=socket)
    try:
        with httpx.Client(base_url=base, transport=transport, timeout=_ANSWER_S, trust_env=False) as engine:
            filters = json.dumps({"label": [f"algodock.home={folder}"]})
            found = engine.get("/containers/json", params={"all": "true", "filters": filters}).raise_for_status().json()
            for container in found:
                place = f"/containers/{container['Id']}"
                stopped = engine.post(f"{place}/stop", params={"t": _STOP_S})
                if stopped.status_code != HTTPStatus.NOT_MODIFIED:  # it had ended already
                    stopped.raise_for_status()
                engine.delete(place, params={"force": "true", "v": "true"}).raise_for_status()
    except httpx.HTTPError as error:
        raise StackError(f"containers of algorithms go on: the Docker Engine at {url}: {error}") from error
    return bool(found)
