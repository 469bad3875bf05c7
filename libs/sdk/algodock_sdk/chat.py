"""``python -m algodock_sdk.chat``: a model behind an OpenAI-compatible endpoint as an algorithm, without any code.

``ALGODOCK_CHAT_ENDPOINT`` is its base URL, ``ALGODOCK_CHAT_MODEL`` the model, ``ALGODOCK_CHAT_SECRET`` the name of the
variable that holds the key (none: no key is sent), ``ALGODOCK_CHAT_TIMEOUT`` the seconds that an answer may take.
"""

from __future__ import annotations

import json
import logging
import os
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from algodock_sdk.algorithm import Algorithm
from algodock_sdk.problems import InvalidInput, Problem
from algodock_sdk.serving import serve, set_up_logging

if TYPE_CHECKING:
    import httpx

__all__ = ["Chat", "Endpoint", "EndpointError", "Message", "main"]

_CONNECT_S = 10.0
_MAX_ANSWER = 32 * 2**20
_MAX_SAID = 500
_OK, _REDIRECTS, _ERRORS = 200, 300, 400
_CALLERS = frozenset({400, 413, 422})
_REFUSED = frozenset({401, 403})
_BUSY = 429


class EndpointError(Exception):
    """The endpoint is described wrongly; says how."""


class Message(BaseModel):
    """One message of a conversation, as the endpoint's API has it."""

    model_config = ConfigDict(extra="allow")

    role: str
    content: Any = None


@dataclass(frozen=True)
class Endpoint:
    """Where the model is; ``key`` goes there and nowhere else."""

    url: str
    model: str
    key: str = field(default="", repr=False)
    secret: str = ""
    timeout_s: float = 30

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Endpoint:
        """Read it from the environment.

        Raises:
            EndpointError: something is missing, or no http(s) URL without user, query and fragment.
        """
        url, model = environment.get("ALGODOCK_CHAT_ENDPOINT", ""), environment.get("ALGODOCK_CHAT_MODEL", "")
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
            msg = "ALGODOCK_CHAT_ENDPOINT must be an http or https URL without a user"
            raise EndpointError(msg)
        if parts.query or parts.fragment or not model:
            msg = "ALGODOCK_CHAT_ENDPOINT has no query and no fragment, and ALGODOCK_CHAT_MODEL names the model"
            raise EndpointError(msg)
        secret = environment.get("ALGODOCK_CHAT_SECRET", "")
        key = environment.get(secret, "") if secret else ""
        if secret and not key:
            name = environment.get("ALGODOCK_NAME", "NAME")
            msg = f"the secret {secret} is not set: algodock secret set {name} {secret}"
            raise EndpointError(msg)
        if not key.isascii() or not key.isprintable():
            msg = f"the secret {secret} is no key: it has characters that no HTTP header holds"
            raise EndpointError(msg)
        return cls(url.rstrip("/"), model, key, secret, float(environment.get("ALGODOCK_CHAT_TIMEOUT") or 30))


class Chat:
    """A model behind an OpenAI-compatible endpoint."""

    def __init__(self, endpoint: Endpoint, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Connect to nothing yet; tests give a ``transport``."""
        self._endpoint = endpoint
        self._transport = transport
        self._client: httpx.AsyncClient | None = None

    def load(self) -> None:
        """Prepare the client."""
        import certifi
        import httpx  # only this program needs them

        verify = ssl.create_default_context()  # the machine's authorities, or those of SSL_CERT_FILE
        verify.load_verify_locations(certifi.where())

        headers = {"authorization": f"Bearer {self._endpoint.key}"} if self._endpoint.key else {}
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(self._endpoint.timeout_s, connect=_CONNECT_S),
            follow_redirects=False,  # another server would get the key, and what was asked
            trust_env=False,
            verify=verify,
            limits=httpx.Limits(max_connections=1000, max_keepalive_connections=20),
            transport=self._transport,
        )

    async def close(self) -> None:
        """Close the client."""
        if self._client is not None:
            await self._client.aclose()

    async def predict(
        self,
        messages: list[Message] | None = None,
        prompt: str | None = None,
        stream: bool = False,  # noqa: FBT001, FBT002  (a field of the body)
        batch_id: str | None = None,  # noqa: ARG002  (clients send it to every algorithm)
        **parameters: Any,
    ) -> Any:
        """Answer a conversation (`messages`), or a single `prompt`.

        Everything else (`temperature`, `max_tokens`, `tools`, …) goes to the endpoint as it is, and its answer
        comes back as it is. With `stream` the parts of the answer come as `output` events.
        """
        if (messages is None) == (prompt is None):
            raise _invalid("messages", "give either messages or a prompt")
        if "model" in parameters and parameters.pop("model") != self._endpoint.model:
            raise _invalid("model", f"this service answers with {self._endpoint.model}")
        asked = [one.model_dump(exclude_unset=True) for one in messages or []]
        body = {
            **parameters,
            "model": self._endpoint.model,
            "messages": asked or [{"role": "user", "content": prompt}],
        }
        return self._parts({**body, "stream": True}) if stream else await self._whole(body)

    async def _whole(self, body: dict[str, Any]) -> Any:
        async with self._asked(body) as response:
            content = bytearray()
            async for block in response.aiter_bytes():
                content += block
                if len(content) > _MAX_ANSWER:
                    raise _failed(f"its answer is larger than {_MAX_ANSWER} bytes")
        return _json(bytes(content))

    async def _parts(self, body: dict[str, Any]) -> AsyncIterator[Any]:
        async with self._asked(body) as response:
            if "text/event-stream" not in response.headers.get("content-type", ""):
                raise _failed("it was asked for a stream and does not answer with one")
            async for line in response.aiter_lines():
                data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
                if data == "[DONE]":
                    return
                if data:
                    part = _json(data.encode())
                    if isinstance(part, dict) and "error" in part:
                        raise _failed(self._clean(_said(part)))
                    yield part

    @asynccontextmanager
    async def _asked(self, body: dict[str, Any]) -> AsyncIterator[httpx.Response]:
        """Give the endpoint's answer when it is a good one.

        Raises:
            Problem: it is none, with what the endpoint said and whose fault it is.
        """
        import httpx

        if self._client is None:
            self.load()
        assert self._client is not None  # noqa: S101  (load has just made it)
        try:
            async with self._client.stream("POST", f"{self._endpoint.url}/chat/completions", json=body) as response:
                if response.status_code != _OK:
                    await self._refuse(response)
                yield response
        except httpx.TimeoutException as error:
            msg = f"the endpoint did not answer within {self._endpoint.timeout_s:g} s"
            raise Problem(504, "The endpoint is too slow", msg, code="endpoint-timeout") from error
        except httpx.HTTPError as error:
            msg = self._clean(f"{self._endpoint.url} cannot be reached: {str(error) or type(error).__name__}")
            raise Problem(503, "The endpoint is away", msg, code="endpoint-away") from error

    async def _refuse(self, response: httpx.Response) -> None:
        status = response.status_code
        content = bytearray()
        async for block in response.aiter_bytes():
            content += block
            if len(content) > 100 * _MAX_SAID:
                break
        try:
            said = _said(json.loads(content))
        except ValueError:
            said = content.decode(errors="replace")
        said = self._clean(said)
        if status in _CALLERS:
            raise Problem(
                422, "Refused by the endpoint", f"the endpoint answered {status}: {said}", code="invalid-input"
            )
        if status in _REFUSED:
            name = self._endpoint.secret or "no secret is named in the manifest"
            msg = f"the endpoint answered {status}: it refuses the key ({name}): {said}"
            raise Problem(502, "The endpoint refuses the key", msg, code="endpoint-refused")
        if status == _BUSY:
            msg = f"the endpoint answered {status}: {said}"
            raise Problem(429, "The endpoint is busy", msg, code="endpoint-busy")
        if _REDIRECTS <= status < _ERRORS:
            raise _failed(f"it answered {status}, and redirects are not followed: the key goes to the endpoint alone")
        raise _failed(f"it answered {status}: {said}")

    def _clean(self, said: str) -> str:
        """Cut what an endpoint said, and take the key out, should it be in it."""
        if self._endpoint.key:
            said = said.replace(self._endpoint.key, "***")
        return said[:_MAX_SAID]


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise _failed("its answer is no JSON") from error


def _said(document: Any) -> str:
    error = document.get("error", document) if isinstance(document, dict) else document
    message = error.get("message") if isinstance(error, dict) else None
    return str(message or error)


def _failed(why: str) -> Problem:
    return Problem(502, "The endpoint failed", f"the endpoint failed: {why}", code="endpoint-failed")


def _invalid(path: str, message: str) -> InvalidInput:
    return InvalidInput([{"path": path, "message": message, "type": "value_error"}])


def main() -> int:
    """Serve until stopped; return 1 when the endpoint is described wrongly, with the reason as the last line."""
    set_up_logging()
    for name in ("httpx", "httpcore"):  # they would write every request, and its headers, into the debug log
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        endpoint = Endpoint.of(os.environ)
    except (EndpointError, ValueError) as error:
        print(f"EndpointError: {error}", file=sys.stderr)
        return 1
    description = f"{endpoint.model} at {endpoint.url}"
    algorithm = Algorithm.of(Chat(endpoint), name=os.environ.get("ALGODOCK_NAME") or "chat", description=description)
    return serve(algorithm, host=os.environ.get("HOST") or "127.0.0.1", port=int(os.environ.get("PORT") or 8000))


if __name__ == "__main__":
    sys.exit(main())
