"""The gateway over HTTP: answers as JSON, problems as errors, and patience with calls that may be repeated."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import httpx

from algodock_cli.client.access import Access, is_loopback
from algodock_cli.client.errors import GatewayAway, GatewayProblem

__all__ = ["Gateway"]

_AGAIN = {502, 503, 504}
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0


class Gateway:
    """A session with one platform.

    ``patience_s``: for how long a call that may be repeated is repeated while nothing answers, or
    what answers is only restarting (502, 503, 504). 0: never.
    """

    def __init__(self, access: Access, *, timeout_s: float = 60.0, patience_s: float = 0.0) -> None:
        self.access = access
        self._patience_s = patience_s
        self._http = httpx.Client(
            base_url=access.url,
            headers={"authorization": f"Bearer {access.key}"},
            timeout=httpx.Timeout(timeout_s, connect=5.0),
            trust_env=not is_loopback(access.url),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        """Return the JSON that a GET answers; parameters that are None are left out."""
        given = {name: value for name, value in params.items() if value is not None}
        return self.request("GET", path, repeat=True, params=given).json()

    def post(self, path: str, body: Any = None, *, repeat: bool = False) -> Any:
        """Return the JSON that a POST answers; ``repeat`` says that doing it twice does no harm."""
        response = self.request("POST", path, repeat=repeat, **({} if body is None else {"json": body}))
        return response.json() if response.content else {}

    def request(self, method: str, path: str, *, repeat: bool = False, **options: Any) -> httpx.Response:
        """Return a good answer.

        Raises:
            GatewayAway: nothing answers (any more).
            GatewayProblem: the answer was 400 or more.
        """
        end = time.monotonic() + (self._patience_s if repeat else 0)
        pause = _FIRST_PAUSE_S
        while True:
            try:
                response = self._http.request(method, path, **options)
                if response.status_code < 400:  # noqa: PLR2004  (HTTP's)
                    return response
                failure: GatewayAway | GatewayProblem = _problem(f"{method} {path}", response)
                hopeless = response.status_code not in _AGAIN
            except httpx.HTTPError as error:
                failure = GatewayAway(self.access.url, str(error) or type(error).__name__)
                hopeless = False
            if hopeless or time.monotonic() + pause > end:
                raise failure
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    @contextmanager
    def stream(self, method: str, path: str, **options: Any) -> Iterator[httpx.Response]:
        """Give a good answer whose body is still coming; errors as ``request``."""
        options.setdefault("timeout", httpx.Timeout(None, connect=5.0))
        try:
            with self._http.stream(method, path, **options) as response:
                if response.status_code >= 400:  # noqa: PLR2004
                    response.read()
                    raise _problem(f"{method} {path}", response)
                yield response
        except httpx.HTTPError as error:
            raise GatewayAway(self.access.url, str(error) or type(error).__name__) from error


def _problem(what: str, response: httpx.Response) -> GatewayProblem:
    try:
        document = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        document = {"detail": response.text[:500]}
    if not isinstance(document, dict):
        document = {"detail": response.text[:500]}
    retry_after = response.headers.get("retry-after", "")
    return GatewayProblem(what, response.status_code, document, float(retry_after) if retry_after.isdigit() else None)
