"""The API as OpenAPI: what the framework knows of its routes, and the raw inlets that are served beside it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from algodock_common.events import TaskFinished

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["openapi_document"]

_SCHEMAS: Final = "#/components/schemas/"
_KEY: Final[list[dict[str, list[str]]]] = [{"API key": []}]
_PROBLEM: Final = {"application/json": {"schema": {"$ref": _SCHEMAS + "Problem"}}}
_NAME: Final = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}


def _problems(**described: str) -> dict[str, Any]:
    return {status.removeprefix("s"): {"description": text, "content": _PROBLEM} for status, text in described.items()}


_RAW_PATHS: Final[dict[str, Any]] = {
    "/ai/{name}/predict": {
        "post": {
            "tags": ["calling"],
            "operationId": "predict",
            "summary": "Call an algorithm",
            "description": "The body goes to an instance of the algorithm as it is, and the answer comes back "
            "as it is: JSON, a file or a stream. Every other path and method below `/ai/{name}/` goes the same way.",
            "security": _KEY,
            "parameters": [_NAME],
            "requestBody": {
                "content": {
                    "application/json": {
                        "schema": {},
                        "example": {"input_data": ["The screen broke after a week"], "batch_id": "test_001"},
                    },
                    "multipart/form-data": {"schema": {"type": "object"}},
                }
            },
            "responses": {
                "200": {"description": "The algorithm's own answer"},
                **_problems(
                    s401="No valid API key",
                    s404="There is no such algorithm",
                    s413="The body is past the algorithm's limit",
                    s503="No healthy instance now; `Retry-After` says when to ask again",
                    s504="The algorithm took longer than its timeout",
                ),
            },
        }
    },
    "/api/v1/gitea/webhook": {
        "post": {
            "tags": ["inlets"],
            "operationId": "webhook",
            "summary": "Take a forge's webhook",
            "description": "For Gitea, Forgejo and Gogs. The signature over the raw body is the credential.",
            "parameters": [
                {"name": "X-Gitea-Signature", "in": "header", "required": True, "schema": {"type": "string"}},
                {"name": "X-Gitea-Event", "in": "header", "required": True, "schema": {"type": "string"}},
            ],
            "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
            "responses": {
                "200": {"description": "Looked at; the answer says what came of it"},
                "202": {"description": "Taken; it is being looked at"},
                **_problems(s401="Not signed, or wrongly", s413="Past 25 MiB"),
            },
        }
    },
    "/api/v1/registry/heartbeat": {
        "post": {
            "tags": ["inlets"],
            "operationId": "heartbeat",
            "summary": "Take an instance's heartbeat",
            "description": "The instance's own token is the credential: `Authorization: Bearer <ALGODOCK_TOKEN>`.",
            "requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}},
            "responses": {"204": {"description": "Noted"}, **_problems(s401="No token of a living instance")},
        }
    },
}


_CALLBACKS: Final[dict[str, Any]] = {
    TaskFinished.topic: {
        "post": {
            "tags": ["callbacks"],
            "summary": "Your callback URL is told that a task has ended",
            "description": "Signed after Standard Webhooks with the secret of the key that submitted the task: check "
            "the signature over the raw body. Any 2xx means heard; else it comes again with the same `webhook-id`.",
            "parameters": [
                {"name": name, "in": "header", "required": True, "schema": {"type": "string"}}
                for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
            ],
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "required": ["type", "timestamp", "data"],
                            "properties": {
                                "type": {"const": TaskFinished.topic},
                                "timestamp": {"type": "string", "format": "date-time"},
                                "data": {"$ref": _SCHEMAS + TaskFinished.__name__},
                            },
                        }
                    }
                },
            },
            "responses": {"2XX": {"description": "Heard"}},
        }
    }
}
"""What the platform sends to others, who write the receiving end."""

_TAGS: Final = (
    ("calling", "What the platform is for: an algorithm behind one URL."),
    ("tasks", "Calls that are kept: with a result to fetch, retries, and a signed callback."),
    ("services", "The services that run, their releases and logs, and commands to them."),
    ("deploying", "Deploying without a git push."),
    ("algorithms", "Algorithms, and where their code is pushed to."),
    ("registry", "Services that run elsewhere, and where a name is served."),
    ("callbacks", "What the platform sends to your program."),
    ("dead letters", "What failed for good, and how it gets another chance."),
    ("inlets", "What forges and instances call."),
)


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Return the whole document.

    A route's title is the first clause of its docstring: a function's name says little to others.
    """
    document = app.openapi()
    paths = _RAW_PATHS | {
        path: {method: {**operation, "summary": _title(operation)} for method, operation in operations.items()}
        for path, operations in document["paths"].items()
    }
    tags = [{"name": name, "description": text} for name, text in _TAGS]
    schemas = document["components"]["schemas"] | _callback_schemas()
    components = document["components"] | {"schemas": schemas}
    return {**document, "tags": tags, "paths": paths, "webhooks": _CALLBACKS, "components": components}


def _callback_schemas() -> dict[str, Any]:
    finished = TaskFinished.model_json_schema(mode="serialization", ref_template=_SCHEMAS + "{model}")
    return {**finished.pop("$defs", {}), TaskFinished.__name__: finished}


def _title(operation: dict[str, Any]) -> str:
    return re.split(r"[.:;](\s|$)", operation.get("description") or operation["summary"], maxsplit=1)[0]
