"""The event catalogue: envelopes, sequences, and the flow table's own consistency."""

from __future__ import annotations

import json
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from algodock_common.events import (
    FLOW,
    CodePushed,
    Event,
    EventData,
    TaskFinished,
    TaskReady,
    TaskRequest,
    TaskRequested,
)
from algodock_common.events.flow import SERVICES, consumed_by, produced_by, step_of
from algodock_common.identifiers import uuid7, uuid7s


def test_an_event_names_its_type_subject_and_a_new_id() -> None:
    event = Event.of(TaskReady(algorithm="echo"), source="/runner", traceparent="00-a-b-01")
    document = json.loads(event.model_dump_json())
    assert document["specversion"] == "1.0"
    assert document["type"] == "task.ready.v1"
    assert document["subject"] == "echo"
    assert document["traceparent"] == "00-a-b-01"
    assert UUID(document["id"]).version == 7


def test_a_sequence_is_a_string_on_the_wire_as_cloudevents_wants_and_a_number_here() -> None:
    event = Event.of(TaskReady(algorithm="echo"), source="/runner").model_copy(update={"sequence": 2**53 + 1})
    wire = event.model_dump_json()
    assert json.loads(wire)["sequence"] == str(2**53 + 1)
    assert Event[TaskReady].model_validate_json(wire).sequence == 2**53 + 1


def test_a_field_of_a_newer_producer_is_dropped() -> None:
    event = json.loads(Event.of(TaskReady(algorithm="echo"), source="/r").model_dump_json())
    event["data"]["colour"] = "green"
    event["extension"] = 1
    assert Event[TaskReady].model_validate(event).data == TaskReady(algorithm="echo")


def test_the_public_inlet_needs_five_members_and_refuses_unknown_ones_in_a_task() -> None:
    envelope = {"specversion": "1.0", "id": "1", "source": "/me", "type": "task.requested.v1"}
    task = Event[TaskRequested].model_validate(envelope | {"data": {"algorithm": "echo", "input": {"a": 1}}})
    assert task.data.max_attempts == 3
    for missing in envelope:
        if missing != "specversion":
            with pytest.raises(ValidationError):
                Event[TaskRequested].model_validate(
                    {name: value for name, value in envelope.items() if name != missing} | {"data": {"algorithm": "e"}}
                )
    with pytest.raises(ValidationError, match="colour"):
        Event[TaskRequested].model_validate(envelope | {"data": {"algorithm": "echo", "colour": "green"}})


def test_a_task_by_kafka_has_the_defaults_of_one_by_rest() -> None:
    by_kafka, by_rest = (one.model_validate({"algorithm": "echo"}) for one in (TaskRequested, TaskRequest))
    assert by_kafka.model_dump() == by_rest.model_dump()


@pytest.mark.parametrize("name", ["Echo", "-echo", "echo-", "e_o", "", "e" * 64, "../etc"])
def test_an_algorithm_is_a_dns_label(name: str) -> None:
    with pytest.raises(ValidationError):
        TaskFinished(id=uuid4(), state="failed", algorithm=name)


@pytest.mark.parametrize("commit", ["HEAD", "--upload-pack=x", "a" * 39, "g" * 40])
def test_a_commit_is_a_full_hash(commit: str) -> None:
    with pytest.raises(ValidationError):
        CodePushed(repository_id=uuid4(), repository="a/b", algorithm_id=uuid4(), algorithm="b", ref="r", commit=commit)


@given(st.integers(min_value=1, max_value=50))
def test_identifiers_made_later_sort_later_by_the_millisecond(count: int) -> None:
    times = [uuid7().int >> 80 for _ in range(count)]
    assert times == sorted(times)
    assert {uuid7().version for _ in range(count)} == {7}


@given(st.integers(min_value=0, max_value=500))
def test_many_identifiers_of_one_moment_are_all_different(count: int) -> None:
    before, made, after = uuid7(), uuid7s(count), uuid7()
    assert len(set(made)) == count
    assert all(one.version == 7 and one.variant == before.variant for one in made)
    assert all(before.int >> 80 <= one.int >> 80 <= after.int >> 80 for one in made)


def test_each_topic_has_one_row_and_only_known_services() -> None:
    assert len({step.topic for step in FLOW}) == len(FLOW)
    for step in FLOW:
        assert set(step.consumers) <= set(SERVICES)
        assert set(step.producers) <= {*SERVICES, "anybody"}
        assert not set(step.groups) & set(step.broadcasts)
        assert step.partitions == (12 if step.topic.startswith("task.") else 3)


def test_every_event_class_is_in_the_table() -> None:
    def below(cls: type[EventData]) -> set[type[EventData]]:
        return set(cls.__subclasses__()).union(*(below(child) for child in cls.__subclasses__()))

    catalogue = {cls for cls in below(EventData) if cls.__module__.startswith("algodock_common.events.")}
    assert catalogue == {step.event for step in FLOW}


def test_only_the_public_inlet_is_open_to_anybody() -> None:
    assert [step.topic for step in FLOW if "anybody" in step.producers] == ["task.requested"]
    assert [step.topic for step in FLOW if step.public] == ["task.requested"]


def test_the_table_answers_who_produces_and_consumes() -> None:
    assert step_of(CodePushed).topic == "code.pushed"
    assert "code.pushed" in [step.topic for step in produced_by("gitea-sync")]
    assert "code.pushed" in [step.topic for step in consumed_by("deployer")]
