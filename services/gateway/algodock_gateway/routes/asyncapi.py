"""The events as a document: AsyncAPI 3.0 made from the flow table, and a page that shows it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from algodock_common.events import FLOW, Event

if TYPE_CHECKING:
    from algodock_common.events import Step

__all__ = ["asyncapi_document", "asyncapi_page"]

_SCHEMAS = "#/components/schemas/"


def asyncapi_document(*, title: str, version: str, bootstrap: str) -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of every topic, with its messages' schemas.

    Source: https://www.asyncapi.com/docs/reference/specification/v3.0.0.
    """
    schemas: dict[str, Any] = {}
    for step in FLOW:
        schema = TypeAdapter(Event[step.event]).json_schema(  # type: ignore[name-defined]  # chosen at run time
            mode="serialization", ref_template=_SCHEMAS + "{model}"
        )
        schemas |= schema.pop("$defs", {})
        schemas[_message(step)] = schema
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": title,
            "version": version,
            "description": "From a git push to an answer, as events: CloudEvents 1.0 in JSON, on Kafka.",
        },
        "defaultContentType": "application/cloudevents+json",
        "servers": {"kafka": {"host": bootstrap, "protocol": "kafka"}},
        "channels": {step.topic: _channel(step) for step in FLOW},
        "operations": {name: operation for step in FLOW for name, operation in _operations(step).items()},
        "components": {
            "messages": {_message(step): _message_object(step) for step in FLOW},
            "schemas": schemas,
        },
    }


def _message(step: Step) -> str:
    return step.event.__name__


def _channel(step: Step) -> dict[str, Any]:
    return {
        "address": step.topic,
        "summary": step.summary,
        "messages": {_message(step): {"$ref": f"#/components/messages/{_message(step)}"}},
        "bindings": {"kafka": {"topic": step.topic, "partitions": step.partitions, "bindingVersion": "0.5.0"}},
    }


def _message_object(step: Step) -> dict[str, Any]:
    message: dict[str, Any] = {
        "name": step.event.event_type(),
        "title": step.name,
        "summary": step.summary,
        "contentType": "application/cloudevents+json",
        "payload": {"$ref": _SCHEMAS + _message(step)},
        "bindings": {"kafka": {"key": {"type": "string", "description": step.key}, "bindingVersion": "0.5.0"}},
    }
    if step.public:
        message["headers"] = {
            "type": "object",
            "required": ["authorization"],
            "properties": {"authorization": {"type": "string", "description": "Bearer <API key>"}},
        }
    return message


def _operations(step: Step) -> dict[str, Any]:
    channel = {"$ref": f"#/channels/{step.topic}"}
    operations = {
        f"{who}.send.{step.topic}": {"action": "send", "channel": channel, "summary": f"{who}: {step.summary}"}
        for who in step.producers
    }
    operations |= {
        f"{who}.receive.{step.topic}": {"action": "receive", "channel": channel, "summary": f"{who}: {step.summary}"}
        for who in step.consumers
    }
    return operations


def asyncapi_page(document: dict[str, Any]) -> str:
    """Return the document as a page that needs nothing from elsewhere."""
    rows = "\n".join(_row(step) for step in FLOW)
    return _PAGE.format(title=escape(document["info"]["title"]), rows=rows, events="\n".join(map(_event, FLOW)))


def _row(step: Step) -> str:
    cells = (
        f'<a href="#{escape(_message(step))}"><code>{escape(step.topic)}</code></a>',
        escape(step.summary),
        escape(step.key),
        escape(", ".join(step.producers)),
        escape(", ".join(step.groups) + (" " if step.groups else "") + "".join(f"each {b} " for b in step.broadcasts)),
        str(step.partitions),
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _event(step: Step) -> str:
    fields = step.event.model_json_schema().get("properties", {})
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(_kind(schema))}</td>"
        f"<td>{escape(schema.get('description', ''))}</td></tr>"
        for name, schema in fields.items()
    )
    doc = escape((step.event.__doc__ or "").strip())
    return (
        f'<section id="{escape(_message(step))}"><h2>{escape(step.event.event_type())}</h2><pre>{doc}</pre>'
        f"<table><tr><th>data</th><th>type</th><th></th></tr>{rows}</table></section>"
    )


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    return str(schema.get("format") or schema.get("type") or "any")


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1b1f24 }}
table {{ border-collapse: collapse; width: 100%; margin: .5rem 0 2rem }}
th, td {{ text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid #d8dee4 }}
pre {{ white-space: pre-wrap; font: inherit; color: #57606a }}
</style></head><body>
<h1>{title}</h1>
<p>CloudEvents 1.0 in JSON on Kafka. <a href="/asyncapi.json">The same as AsyncAPI 3.0</a>.</p>
<table><tr><th>topic</th><th>what happened</th><th>key</th><th>from</th><th>to</th><th>partitions</th></tr>
{rows}
</table>
{events}
</body></html>
"""
