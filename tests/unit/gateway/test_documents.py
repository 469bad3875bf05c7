"""The documents of the API and the events: whole, and what a reader sees of them."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI

from algodock_common.events import FLOW
from algodock_gateway.routes.api.answers import Problem
from algodock_gateway.routes.asyncapi import asyncapi_document, data_schema
from algodock_gateway.routes.events_page import events_body
from algodock_gateway.routes.openapi import openapi_document


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return asyncapi_document(title="<events>", version="1", bootstrap="h:1")


def refers_to(document: dict[str, Any], ref: str) -> Any:
    node: Any = document
    for key in ref.removeprefix("#/").split("/"):
        node = node[key]
    return node


def test_the_asyncapi_document_refers_only_to_what_it_has(document: dict[str, Any]) -> None:
    for part in str(document).split("'$ref': '")[1:]:
        assert refers_to(document, part.split("'")[0])


def test_a_messages_data_has_the_fields_of_its_event(document: dict[str, Any]) -> None:
    for step in FLOW:
        message = document["components"]["messages"][step.event.__name__]
        envelope = refers_to(document, message["payload"]["$ref"])
        assert {"specversion", "id", "source", "type", "data"} <= set(envelope["properties"])
        data = refers_to(document, envelope["properties"]["data"]["$ref"])
        assert data == data_schema(document, step)
        assert set(data["properties"]) == set(step.event.model_fields)


def test_the_public_inlets_example_is_one_that_it_takes(document: dict[str, Any]) -> None:
    for step in FLOW:
        examples = document["components"]["messages"][step.event.__name__].get("examples", [])
        assert bool(examples) == step.public
        for example in examples:
            step.event.model_validate(example["payload"]["data"])


def test_the_page_shows_every_topic_and_field_and_escapes_what_it_is_given(document: dict[str, Any]) -> None:
    page = events_body(document)
    assert "&lt;events&gt;" in page
    assert "<script" not in page
    for step in FLOW:
        assert f'<section id="{step.topic}">' in page
        for field in step.event.model_fields:
            assert f"<code>{field}</code>" in page


def test_openapi_has_the_raw_inlets_and_titles_that_say_something() -> None:
    app = FastAPI()

    @app.get("/things")
    async def all_things() -> Problem:
        """List the things, newest first; old ones never."""
        raise NotImplementedError

    @app.get("/plain")
    async def plain() -> None: ...

    document = openapi_document(app)
    for part in str(document).split("'$ref': '")[1:]:
        assert refers_to(document, part.split("'")[0])
    assert "TaskFinished" in str(document["webhooks"]["task.finished"])
    paths = document["paths"]
    assert paths["/plain"]["get"]["summary"] == "Plain"
    assert paths["/things"]["get"]["summary"] == "List the things, newest first"
    assert {"/ai/{name}/predict", "/api/v1/gitea/webhook", "/api/v1/registry/heartbeat"} < set(paths)
