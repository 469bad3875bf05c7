"""From a request to a task: merged, hashed, checked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algodock_common.events import TaskRequest, TaskRequested
from algodock_runner.domain.errors import InvalidTask
from algodock_runner.domain.requests import NewTask, new_task

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def made(**body: Any) -> NewTask:
    return new_task(TaskRequest.model_validate({"algorithm": "echo"} | body), owner="k", traceparent=None)


@given(json_values)
def test_any_json_is_taken_as_it_is(value: Any) -> None:
    import json  # late, like the only use of it

    assert json.loads(made(input=value).body) == value


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=5))
def test_the_order_of_keys_does_not_matter_to_the_hash(value: dict[str, Any]) -> None:
    turned = dict(reversed(value.items()))
    assert made(input=value).request_hash == made(input=turned).request_hash


def test_another_request_has_another_hash_and_the_key_does_not_count() -> None:
    base = made(input=1, idempotency_key="a").request_hash
    assert made(input=1, idempotency_key="b", priority=0).request_hash == base
    for other in ({"input": 2}, {"input": 1, "priority": 1}, {"input": 1, "metadata": {"a": "b"}}, {"input": "1"}):
        assert made(**other).request_hash != base


def test_both_inlets_hash_alike_and_a_time_without_a_zone_is_utc() -> None:
    body = {"algorithm": "echo", "input": 1, "timeout": 5, "deadline": "2030-01-01T00:00:00"}
    rest = new_task(TaskRequest.model_validate(body), owner="k", traceparent=None)
    body |= {"deadline": "2030-01-01T00:00:00Z", "timeout": 5.0}
    kafka = new_task(TaskRequested.model_validate(body), owner="k", traceparent=None)
    assert rest.request_hash == kafka.request_hash
    assert rest.deadline == kafka.deadline


def test_params_alone_are_the_input() -> None:
    assert made(params={"a": 1}).body == b'{"a":1}'


@pytest.mark.parametrize("value", [None, 1, "x", [1]])
def test_params_over_something_that_is_no_object_are_refused(value: Any) -> None:
    with pytest.raises(InvalidTask, match="object"):
        made(input=value, params={"a": 1})


def test_half_a_surrogate_pair_stays_an_escape() -> None:
    assert made(input="\ud800文").body == b'"\\ud800\\u6587"'
    assert made(input="文").body == '"文"'.encode()
