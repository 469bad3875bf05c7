"""What a predict function's parameters make of a request's values."""

# ruff: noqa: ARG001  (only signatures are looked at here)

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import numpy as np
import pytest
from PIL import Image
from pydantic import BaseModel, Field

from algodock_sdk.files import Upload
from algodock_sdk.problems import InvalidInput
from algodock_sdk.signature import Signature, SignatureError


class Point(BaseModel):
    x: int


def refused(signature: Signature, values: dict[str, Any]) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        signature.bind(values)
    return [error["path"] for error in caught.value.members["errors"]]


def test_parameters_are_filled_by_name_and_defaults_hold() -> None:
    def predict(input_data: list[str], batch_id: str = "none", k: int = 3) -> dict[str, Any]:
        return {}

    assert Signature(predict).bind({"input_data": ["a"], "k": "7"}) == (
        [],
        {"input_data": ["a"], "batch_id": "none", "k": 7},
    )


def test_untyped_parameters_take_anything() -> None:
    def predict(a, b=2):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return a, b

    assert Signature(predict).bind({"a": {"x": [None]}}) == ([], {"a": {"x": [None]}, "b": 2})


def test_positional_only_parameters_are_passed_by_position() -> None:
    def predict(a: int, /, b: int) -> int:
        return a + b

    assert Signature(predict).bind({"a": 1, "b": 2}) == ([1], {"b": 2})


def test_names_that_pydantic_keeps_for_itself_are_names_like_any_other() -> None:
    def predict(schema: int, model_config: int = 1, json: str = "", _hidden: int = 2) -> None:
        pass

    _, kwargs = Signature(predict).bind({"schema": 4, "_hidden": 5})
    assert kwargs == {"schema": 4, "model_config": 1, "json": "", "_hidden": 5}


def test_the_path_of_a_wrong_field_is_told() -> None:
    def predict(points: list[Point], k: Annotated[int, Field(ge=1)], either: Point | int = 1) -> None:
        pass

    paths = refused(Signature(predict), {"points": [{"x": 1}, {"x": "no"}], "either": {"x": "no"}})
    assert set(paths) == {"points[1].x", "k", "either.x", "either"}


def test_a_default_made_with_field_carries_its_limits() -> None:
    def predict(q: float = Field(0.5, le=1)) -> None:
        pass

    assert Signature(predict).bind({}) == ([], {"q": 0.5})
    assert refused(Signature(predict), {"q": 2}) == ["q"]


def test_names_that_no_parameter_takes_are_told_but_the_batch_id_is_not() -> None:
    def predict(a: int) -> None:
        pass

    signature = Signature(predict)
    assert signature.bind({"a": 1, "tresh": 2, "batch_id": "x"}) == ([], {"a": 1})
    assert signature.ignored({"a": 1, "tresh": 2, "batch_id": "x"}) == ["tresh"]


def test_double_starred_parameters_take_the_rest() -> None:
    def predict(a: int, **rest: object) -> None:
        pass

    signature = Signature(predict)
    assert signature.bind({"a": 1, "b": [2]}) == ([], {"b": [2], "a": 1})
    assert signature.ignored({"b": 1}) == []


def test_starred_parameters_cannot_be_served() -> None:
    def predict(*values: int) -> None:
        pass

    with pytest.raises(SignatureError, match=r"\*values has no name"):
        Signature(predict)


def test_a_hint_that_does_not_exist_is_named() -> None:
    def predict(a: Nowhere) -> None:  # type: ignore[name-defined]  # noqa: F821
        pass

    with pytest.raises(SignatureError, match="Nowhere"):
        Signature(predict)


def test_files_become_the_types_that_the_hints_name() -> None:
    def predict(one: bytes, many: list[bytes], none: bytes | None = None) -> None:
        pass

    signature = Signature(predict)
    assert signature.file_fields == {"one": "bytes", "many": "bytes", "none": "bytes"}
    _, kwargs = signature.bind({"one": {"$file": "data:;base64,aGk="}, "many": [Upload(b"a"), Upload(b"b")]})
    assert kwargs == {"one": b"hi", "many": [b"a", b"b"], "none": None}


def test_an_array_may_come_as_numbers_and_a_picture_not() -> None:
    def predict(array: np.ndarray[Any, Any], image: Image.Image | None = None) -> None:
        pass

    signature = Signature(predict)
    _, kwargs = signature.bind({"array": [[1, 2], [3, 4]]})
    assert kwargs["array"].tolist() == [[1, 2], [3, 4]]
    assert refused(signature, {"array": [[1], [2, 3]]}) == ["array"]
    assert refused(signature, {"array": ["a"]}) == ["array"]
    assert refused(signature, {"array": [1], "image": "text"})[0] == "image"


def test_schemas_name_the_parameters_the_files_and_the_result() -> None:
    def predict(image: bytes, k: Annotated[int, Field(ge=1, description="how many")] = 3) -> list[Point]:
        return []

    signature = Signature(predict)
    schema = signature.input_schema()
    assert schema["required"] == ["image"]
    assert schema["properties"]["image"]["x-algodock-file"] == "bytes"
    assert schema["properties"]["k"] == {
        "default": 3,
        "description": "how many",
        "minimum": 1,
        "title": "K",
        "type": "integer",
    }
    assert signature.output_schema()["type"] == "array"


def test_a_streams_schema_is_that_of_one_output() -> None:
    def predict() -> Iterator[int]:
        yield 1

    async def predict_later() -> AsyncIterator[int]:
        yield 1

    assert Signature(predict).streams
    assert Signature(predict).output_schema() == Signature(predict_later).output_schema() == {"type": "integer"}


def test_a_result_type_without_a_schema_is_served_all_the_same() -> None:
    class Odd:
        pass

    def predict() -> Odd:
        return Odd()

    predict.__annotations__["return"] = Odd
    assert Signature(predict).output_schema() == {}
