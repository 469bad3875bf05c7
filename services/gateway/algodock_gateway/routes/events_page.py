"""The events as a page to read, made from the same AsyncAPI document that programs get."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any, Final

from algodock_common.events import FLOW
from algodock_gateway.routes.asyncapi import data_schema, envelope_schema, message_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from algodock_common.events import Step

__all__ = ["events_body"]

_HEADINGS: Final = ("Topic", "What happened", "Key", "From", "To", "Partitions")
_REF: Final = "#/components/schemas/"


def events_body(document: Mapping[str, Any]) -> str:
    """Return the inside of the page, without any script; ``document`` is AsyncAPI 3.0 of the flow table."""
    info, server = document["info"], document["servers"]["kafka"]
    schemas: Mapping[str, Any] = document["components"]["schemas"]
    shared = sorted(set(schemas) - {name for step in FLOW for name in (message_name(step), envelope_schema(step))})
    parts = [
        f"<h1>{escape(info['title'])}</h1>",
        f'<p class="lead">{escape(info["description"])}</p>',
        _facts(
            (
                ("Broker", f"<code>{escape(server['host'])}</code>"),
                ("Version", escape(info["version"])),
                ("For programs", '<a href="/asyncapi.json">AsyncAPI 3.0 in JSON</a>'),
            )
        ),
        _section("topics", "Topics", _topics()),
        _section("envelope", "The envelope", _ENVELOPE + _fields(schemas[envelope_schema(FLOW[0])], without={"data"})),
        *(_event(step, document) for step in FLOW),
        *(_section(name, f"<code>{escape(name)}</code>", _described(schemas[name])) for name in shared),
    ]
    return f'<div class="events">{_contents(shared)}<main>{"".join(parts)}</main></div>'


_ENVELOPE: Final = (
    "<p>Every message is one CloudEvent in JSON. A consumer drops what has a lower <code>sequence</code> than what it "
    "has applied of the same subject, and an <code>id</code> that it has seen. Messages of the platform's own topics "
    "carry an HMAC over the value in a header; whoever writes to the public inlet shows an API key in the message's "
    "<code>authorization</code> header.</p>"
)


def _contents(shared: Iterable[str]) -> str:
    topics = "".join(f'<a href="#{escape(step.topic)}">{escape(step.topic)}</a>' for step in FLOW)
    types = "".join(f'<a href="#{escape(name)}">{escape(name)}</a>' for name in shared)
    return (
        '<nav aria-label="On this page"><a href="#topics"><strong>Topics</strong></a>'
        f'{topics}<a href="#envelope">The envelope</a><br><strong>Types</strong>{types}</nav>'
    )


def _section(anchor: str, heading: str, inside: str) -> str:
    return f'<section id="{escape(anchor)}"><h2><a href="#{escape(anchor)}">{heading}</a></h2>{inside}</section>'


def _facts(pairs: Iterable[tuple[str, str]]) -> str:
    return '<dl class="facts">' + "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in pairs) + "</dl>"


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]], kind: str) -> str:
    """Return a table whose cells know their heading, for narrow screens; the first two cells need none."""
    names = tuple(headings)
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td>{cell}</td>" if at < 2 or not cell else f'<td data-label="{names[at]}">{cell}</td>'  # noqa: PLR2004
            for at, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _topics() -> str:
    return _table(
        _HEADINGS,
        (
            (
                f'<a href="#{escape(step.topic)}"><code>{escape(step.topic)}</code></a>{_badge(step)}',
                escape(step.summary),
                escape(step.key),
                escape(", ".join(step.producers)),
                escape(_receivers(step)),
                f'<span class="number">{step.partitions}</span>',
            )
            for step in FLOW
        ),
        "topics",
    )


def _badge(step: Step) -> str:
    return ' <span class="badge">public inlet</span>' if step.public else ""


def _receivers(step: Step) -> str:
    return ", ".join([*step.groups, *(f"every {router}" for router in step.broadcasts)]) or "whoever listens"


def _event(step: Step, document: Mapping[str, Any]) -> str:
    message = document["components"]["messages"][message_name(step)]
    schema = data_schema(document, step)
    facts = [
        ("Type", f"<code>{escape(message['name'])}</code>"),
        ("Key", escape(step.key)),
        ("From", escape(", ".join(step.producers))),
        ("To", escape(_receivers(step))),
        ("Partitions", str(step.partitions)),
    ]
    if "headers" in message:
        facts.append(("Header", "<code>authorization: Bearer &lt;API key&gt;</code>"))
    summary = f"<p>{escape(step.summary[:1].upper() + step.summary[1:])}.</p>"
    examples = "".join(_shown("Example", one["payload"]) for one in message.get("examples", ()))
    inside = summary + _facts(facts) + "<h3>Data</h3>" + _described(schema) + examples + _shown("JSON Schema", schema)
    return _section(step.topic, f"<code>{escape(step.topic)}</code>{_badge(step)}", inside)


def _described(schema: Mapping[str, Any]) -> str:
    text = " ".join(str(schema.get("description", "")).split()).replace("``", "`")
    pieces = (f"<code>{escape(one)}</code>" if at % 2 else escape(one) for at, one in enumerate(text.split("`")))
    return f'<p class="soft">{"".join(pieces)}</p>{_fields(schema)}'


def _fields(schema: Mapping[str, Any], *, without: frozenset[str] | set[str] = frozenset()) -> str:
    needed = frozenset(schema.get("required", ()))
    return _table(
        ("Field", "Type", "Meaning"),
        (
            (
                f"<code>{escape(name)}</code>" + (' <span class="needed">required</span>' if name in needed else ""),
                _kind(field),
                escape(str(field.get("description", ""))),
            )
            for name, field in schema.get("properties", {}).items()
            if name not in without
        ),
        "fields",
    )


def _kind(schema: Mapping[str, Any]) -> str:
    """Return a schema's type as people say it."""
    match schema:
        case {"$ref": str(ref)}:
            name = escape(ref.removeprefix(_REF))
            said = f'<a href="#{name}">{name}</a>'
        case {"const": value}:
            said = f"<code>{escape(str(value))}</code>"
        case {"enum": values}:
            said = " · ".join(f"<code>{escape(str(one))}</code>" for one in values)
        case {"anyOf": kinds}:
            said = " or ".join(_kind(one) for one in kinds)
        case {"type": "null"}:
            said = "nothing"
        case {"type": "array", "items": dict(items)}:
            said = f"list of {_kind(items)}"
        case {"additionalProperties": dict(values)}:
            said = f"object of {_kind(values)}"
        case _:
            said = escape(str(schema.get("format") or schema.get("type") or "any JSON"))
    return said


def _shown(name: str, value: object) -> str:
    text = escape(json.dumps(value, indent=2, ensure_ascii=False))
    return f'<details><summary>{name}</summary><pre tabindex="0"><code>{text}</code></pre></details>'
