"""What a service says about itself: its OpenAPI document, and a page on which a person can try it."""

from __future__ import annotations

import html
import json
from importlib.resources import files
from typing import Any

from algodock_sdk.algorithm import Algorithm

__all__ = ["docs_page", "openapi_of"]

_PROBLEM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
    "required": ["detail"],
}


def openapi_of(algorithm: Algorithm) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document; its server is relative, so that it holds under any prefix."""
    signature = algorithm.signature
    schema = _inline_definitions(signature.input_schema())
    request: dict[str, Any] = {"application/json": {"schema": schema}}
    if signature.file_fields:
        parts = dict(schema.get("properties", {}))
        parts.update({name: {"type": "string", "format": "binary"} for name in signature.file_fields})
        request["multipart/form-data"] = {"schema": {**schema, "properties": parts}}
    result = _inline_definitions(signature.output_schema())
    output: dict[str, Any] = {"application/json": {"schema": result}}
    if signature.streams:
        output = {"text/event-stream": {"schema": {"type": "string"}}}
    elif "x-algodock-file" in result:
        output = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
    failures = {
        status: {"description": text, "content": {"application/problem+json": {"schema": _PROBLEM}}}
        for status, text in (("422", "The input does not fit"), ("500", "The algorithm failed"))
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": algorithm.name,
            "version": algorithm.version or "0",
            "description": algorithm.description,
        },
        "servers": [{"url": "."}],
        "paths": {
            "/predict": {
                "post": {
                    "operationId": "predict",
                    "summary": (algorithm.description or "Predict").splitlines()[0],
                    "requestBody": {"required": True, "content": request},
                    "responses": {"200": {"description": "The result", "content": output}, **failures},
                }
            },
            "/health": {"get": {"operationId": "health", "responses": {"200": {"description": "It can serve"}}}},
            "/info": {"get": {"operationId": "info", "responses": {"200": {"description": "What it is"}}}},
        },
    }


def _inline_definitions(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with its ``$ref``s resolved where they are used (recursive ones keep their definition)."""
    definitions = schema.get("$defs", {})

    def resolved(node: Any, seen: tuple[str, ...]) -> Any:
        if isinstance(node, list):
            return [resolved(item, seen) for item in node]
        if not isinstance(node, dict):
            return node
        name = str(node.get("$ref", "")).removeprefix("#/$defs/")
        if name in definitions:
            return {} if name in seen else resolved(definitions[name], (*seen, name))
        return {key: resolved(value, seen) for key, value in node.items() if key != "$defs"}

    inlined: dict[str, Any] = resolved(schema, ())
    return inlined


def docs_page(algorithm: Algorithm) -> str:
    """Return the page; it loads nothing from elsewhere and calls ``predict`` beside itself."""
    page = files("algodock_sdk").joinpath("docs.html").read_text("utf-8")
    known = {
        "input": _inline_definitions(algorithm.signature.input_schema()),
        "output": _inline_definitions(algorithm.signature.output_schema()),
        "files": algorithm.signature.file_fields,
    }
    # The JSON stands in a script element, which an author's "</script>" or "<!--" must not end.
    data = json.dumps(known, ensure_ascii=False).replace("<", "\\u003c")
    return (
        page.replace("{{name}}", html.escape(algorithm.name))
        .replace("{{description}}", html.escape(algorithm.description))
        .replace("{{known}}", data)
    )
