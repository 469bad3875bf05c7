"""The events as a document for programs: AsyncAPI 3.0, made from the flow table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from algodock_common.events import FLOW, Event

if TYPE_CHECKING:
    from collections.abc import Mapping

    from algodock_common.events import Step

__all__ = ["asyncapi_document", "data_schema", "envelope_schema", "message_name"]

_SCHEMAS = "#/components/schemas/"


def asyncapi_document(*, title: str, version: str, bootstrap: str) -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of every topic, with its messages' schemas.

    Source: https://www.asyncapi.com/docs/reference/specification/v3.0.0.
    """
    schemas: dict[str, Any] = {}
    for step in FLOW:
        schema = TypeAdapter(Event[step.event]).json_schema(  # type: ignore[name-defined]  # chosen at run time
            # What is written by others is what they must give; what we write is what is always there.
            mode="validation" if step.public else "serialization",
            ref_template=_SCHEMAS + "{model}",
        )
        schemas |= schema.pop("$defs", {})
        schemas[envelope_schema(step)] = schema
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
            "messages": {message_name(step): _message_object(step) for step in FLOW},
            "schemas": schemas,
        },
    }


def message_name(step: Step) -> str:
    """Return the name of a step's message, which is also its data's schema."""
    return step.event.__name__


def envelope_schema(step: Step) -> str:
    """Return the name of the schema of a step's whole message: the CloudEvent with its data."""
    return f"{step.event.__name__}Event"


def data_schema(document: Mapping[str, Any], step: Step) -> dict[str, Any]:
    """Return the schema of a step's data."""
    schema: dict[str, Any] = document["components"]["schemas"][message_name(step)]
    return schema


def _channel(step: Step) -> dict[str, Any]:
    return {
        "address": step.topic,
        "summary": step.summary,
        "messages": {message_name(step): {"$ref": f"#/components/messages/{message_name(step)}"}},
        "bindings": {"kafka": {"topic": step.topic, "partitions": step.partitions, "bindingVersion": "0.5.0"}},
    }


def _message_object(step: Step) -> dict[str, Any]:
    message: dict[str, Any] = {
        "name": step.event.event_type(),
        "title": step.name,
        "summary": step.summary,
        "contentType": "application/cloudevents+json",
        "payload": {"$ref": _SCHEMAS + envelope_schema(step)},
        "bindings": {"kafka": {"key": {"type": "string", "description": step.key}, "bindingVersion": "0.5.0"}},
    }
    examples = step.event.model_json_schema().get("examples")
    if examples:
        message["examples"] = [{"payload": _enveloped(step, data)} for data in examples]
    if step.public:
        message["headers"] = {
            "type": "object",
            "required": ["authorization"],
            "properties": {"authorization": {"type": "string", "description": "Bearer <API key>"}},
        }
    return message


def _enveloped(step: Step, data: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "0192f3c4-8d11-7c52-9a40-5b1e6f0c7d21",
        "source": "/your/program" if step.public else f"/{step.producers[0]}",
        "type": step.event.event_type(),
        "data": data,
    }


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
