"""A predict function's parameters as a schema: what a request must hold, and how it becomes arguments."""

from __future__ import annotations

import inspect
import types
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PydanticSchemaGenerationError,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    create_model,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from algodock_sdk.files import FileKind, decoder, file_kind
from algodock_sdk.problems import InvalidInput, field_path

__all__ = ["Signature", "SignatureError"]

_ALWAYS_ALLOWED = {"batch_id"}  # clients send it to every algorithm, also to those that have no use for it
_STREAMS = (Generator, Iterator, Iterable, AsyncGenerator, AsyncIterator, AsyncIterable)
_FILE_TITLES = {"bytes": "A file", "image": "A picture", "array": "A picture, a .npy file or numbers"}


class SignatureError(Exception):
    """The predict function's parameters cannot be served; says which and why."""


class _Input(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=(), populate_by_name=False)


class Signature:
    """What ``function`` takes and gives; ``file_fields`` are its parameters that may come as multipart files."""

    def __init__(self, function: Callable[..., Any]) -> None:
        """Read names, defaults and type hints.

        Raises:
            SignatureError: a hint cannot be resolved or has no schema, or a parameter has no name.
        """
        self._parameters = list(inspect.signature(function).parameters.values())
        try:
            self._hints = get_type_hints(function, include_extras=True)
        except Exception as error:
            msg = f"a type hint of {function.__qualname__} cannot be resolved: {type(error).__name__}: {error}"
            raise SignatureError(msg) from error
        self.streams = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
        self.is_async = inspect.iscoroutinefunction(function)
        self.file_fields: dict[str, FileKind] = {}
        self.text_fields: set[str] = set()
        self._takes_rest = False
        self._names: dict[str, str] = {}
        self._model = self._build(function)

    def _build(self, function: Callable[..., Any]) -> type[BaseModel]:
        fields: dict[str, Any] = {}
        for number, parameter in enumerate(self._parameters):
            if parameter.kind is parameter.VAR_KEYWORD:
                self._takes_rest = True
                continue
            if parameter.kind is parameter.VAR_POSITIONAL:
                msg = f"{function.__qualname__}: *{parameter.name} has no name that a caller could use"
                raise SignatureError(msg)
            hint = self._hints.get(parameter.name, Any)
            kind = _kind_within(hint)
            if kind:
                self.file_fields[parameter.name] = kind
            if hint is str or str in get_args(hint):
                self.text_fields.add(parameter.name)
            # The model's own names are numbered, so that a parameter may be called "schema" or "_x".
            self._names[parameter.name] = f"p{number}"
            fields[f"p{number}"] = _field(_with_files(hint), parameter)
        rest: ConfigDict = {"extra": "allow"} if self._takes_rest else {"extra": "ignore"}
        base = type(
            "Input", (_Input,), {"model_config": ConfigDict(**{**_Input.model_config, **rest}), "__module__": __name__}
        )
        try:
            return create_model("Input", __base__=base, **fields)
        except (PydanticSchemaGenerationError, PydanticUserError, TypeError) as error:
            msg = f"the parameters of {function.__qualname__} have no schema: {error}"
            raise SignatureError(msg) from error

    def is_list(self, name: str) -> bool:
        """Tell whether a parameter takes a list, so that a single multipart part is one item of it."""
        hint = self._hints.get(name, Any)
        return any(get_origin(option) is list or option is list for option in (hint, *get_args(hint)))

    def bind(self, values: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return the positional and keyword arguments for the function.

        Raises:
            InvalidInput: with the path of each field that is missing or wrong.
        """
        try:
            checked = self._model.model_validate(values)
        except ValidationError as error:
            raise InvalidInput(
                [
                    {"path": _path(item, values), "message": item["msg"], "type": item["type"]}
                    for item in error.errors(include_url=False, include_context=False, include_input=False)
                ]
            ) from error
        args: list[Any] = []
        kwargs: dict[str, Any] = dict(checked.model_extra or {})
        for parameter in self._parameters:
            if parameter.name not in self._names or parameter.kind is parameter.VAR_KEYWORD:
                continue
            value = getattr(checked, self._names[parameter.name])
            if parameter.kind is parameter.POSITIONAL_ONLY:
                args.append(value)
            else:
                kwargs[parameter.name] = value
        return args, kwargs

    def ignored(self, values: Mapping[str, Any]) -> list[str]:
        """Return the names that no parameter takes (they are told to the caller, not refused)."""
        if self._takes_rest:
            return []
        return sorted(str(name) for name in values if name not in self._names and name not in _ALWAYS_ALLOWED)

    def input_schema(self) -> dict[str, Any]:
        """Return the JSON schema of the request's body."""
        return {**self._model.model_json_schema(by_alias=True), "title": "Input"}

    def output_schema(self) -> dict[str, Any]:
        """Return the JSON schema of the answer (of one ``output`` event where it streams); empty when unknown."""
        hint = self._hints.get("return", Any)
        if self.streams and get_origin(hint) in _STREAMS:
            hint = (get_args(hint) or (Any,))[0]
        kind = file_kind(hint)
        if kind:
            return _file_schema(kind)
        try:
            return TypeAdapter(hint).json_schema(mode="serialization")
        except (PydanticSchemaGenerationError, PydanticUserError, TypeError):
            return {}  # a type of the author's that has no schema is still served


def _field(hint: Any, parameter: inspect.Parameter) -> Any:
    default = parameter.default
    if isinstance(default, FieldInfo):
        return Annotated[hint, Field(alias=parameter.name)], default
    return Annotated[hint, Field(alias=parameter.name)], ... if default is parameter.empty else default


def _file_schema(kind: FileKind) -> dict[str, Any]:
    return {
        "type": "object",
        "title": _FILE_TITLES[kind],
        "properties": {"$file": {"type": "string", "description": "a data URL; or send the field as a multipart part"}},
        "required": ["$file"],
        "x-algodock-file": kind,
    }


def _path(error: ErrorDetails, values: Any) -> str:
    """Return the path of an error's field, without the steps that pydantic adds for the branches of a union."""
    kept: list[str | int] = []
    here = values
    for step in error["loc"]:
        if (isinstance(here, Mapping) and step in here) or (
            isinstance(here, list) and isinstance(step, int) and step < len(here)
        ):
            here = here[step]  # type: ignore[index]  # either kind takes its own kind of step
            kept.append(step)
    if error["type"] == "missing":
        kept.append(error["loc"][-1])
    return field_path(kept)


def _kind_within(hint: Any) -> FileKind | None:
    """Return the kind of file in a hint such as ``list[bytes] | None``."""
    return file_kind(hint) or next((kind for kind in map(_kind_within, get_args(hint)) if kind), None)


def _with_files(hint: Any) -> Any:
    """Return the hint with each file type replaced by one that pydantic can make from a request."""
    kind = file_kind(hint)
    if kind:
        return Annotated[Any, BeforeValidator(decoder(kind)), WithJsonSchema(_file_schema(kind))]
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return Annotated[(_with_files(args[0]), *args[1:])]
    if origin is Union or isinstance(hint, types.UnionType):
        return Union[tuple(_with_files(arg) for arg in args)]  # noqa: UP007  (built at run time)
    if origin is list and args:
        return list[_with_files(args[0])]  # type: ignore[misc]  # built at run time
    if origin is dict and args:
        return dict[args[0], _with_files(args[1])]  # type: ignore[misc,valid-type]
    return hint
