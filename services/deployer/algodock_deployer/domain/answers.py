"""Is an answer what was expected of it, and does it keep to the schema that the program itself publishes?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["answer_schema", "difference", "misfit"]

Json = Any
TOLERANCE = 1e-6
DEEPEST = 64
MOST_LOOKS = 100_000
_TYPES: dict[str, Callable[[Json], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: (
        not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
    ),
}


def difference(expected: Json, answer: Json, path: str = "$") -> str | None:
    """Return where ``answer`` is not what was expected, None where it is.

    An object may have more than what is expected of it, a list may not; numbers may differ by a millionth.
    """
    if isinstance(expected, dict) and isinstance(answer, dict):
        missing = next((key for key in expected if key not in answer), None)
        if missing is not None:
            return f"{path}.{missing} is missing"
        found = (difference(value, answer[key], f"{path}.{key}") for key, value in expected.items())
        return next((wrong for wrong in found if wrong), None)
    if isinstance(expected, list) and isinstance(answer, list):
        if len(expected) != len(answer):
            return f"{path} has {len(answer)} items, expected {len(expected)}"
        pairs = enumerate(zip(expected, answer, strict=True))
        found = (difference(one, other, f"{path}[{number}]") for number, (one, other) in pairs)
        return next((wrong for wrong in found if wrong), None)
    return None if _same(expected, answer) else f"{path} is {_short(answer)}, expected {_short(expected)}"


def _same(expected: Json, answer: Json) -> bool:
    if _TYPES["number"](expected) and _TYPES["number"](answer):
        return math.isclose(expected, answer, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return type(expected) is type(answer) and bool(expected == answer)


def answer_schema(document: Json, path: str = "/predict") -> Json:
    """Return the JSON schema that an OpenAPI document gives ``POST path``'s 200, None where it gives none."""
    found: Json = document
    for key in ("paths", path, "post", "responses", "200", "content", "application/json", "schema"):
        if not isinstance(found, dict):
            return None
        found = found.get(key)
    return found if isinstance(found, dict) else None


def misfit(schema: Json, value: Json, document: Json) -> str | None:
    """Return where ``value`` does not keep to ``schema``, None where it does.

    Types, properties, items, enumerations, bounds and combinations are looked at, references within
    ``document``; what else a schema may say is not (a stranger's patterns are not run here). A schema that
    takes more than ``MOST_LOOKS`` looks, or goes deeper than ``DEEPEST``, counts as kept to.
    """
    return _Reader(document).misfit(schema, value, "$", 0)


def _referred(reference: str, document: Json) -> Json:
    found = document
    for part in reference.removeprefix("#/").split("/") if reference.startswith("#/") else ():
        name = part.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, dict) else None
    return None if found is document else found


def _wrong_type(schema: Mapping[str, Json], value: Json) -> str | None:
    named = schema.get("type")
    types = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    if value is None and schema.get("nullable") is True:
        return None
    known = [one for one in types if one in _TYPES]
    if not known or len(known) < len(types) or any(_TYPES[one](value) for one in known):
        return None
    return f"is {_short(value)}, the schema says {' or '.join(known)}"


def _wrong_value(schema: Mapping[str, Json], value: Json) -> str | None:
    if "const" in schema and schema["const"] != value:
        return f"is {_short(value)}, the schema says {_short(schema['const'])}"
    choices = schema.get("enum")
    if isinstance(choices, list) and value not in choices:
        return f"is {_short(value)}, the schema says one of {_short(choices)}"
    return None


def _wrong_bounds(schema: Mapping[str, Json], value: Json) -> str | None:
    if not _TYPES["number"](value):
        return None
    low, high = schema.get("minimum"), schema.get("maximum")
    if _TYPES["number"](low) and value < low:
        return f"is {_short(value)}, the schema's minimum is {low}"
    if _TYPES["number"](high) and value > high:
        return f"is {_short(value)}, the schema's maximum is {high}"
    return None


class _Reader:
    """Reads one schema with a bound on the work: a schema may refer to itself twice at every level."""

    def __init__(self, document: Json) -> None:
        self._document = document
        self._left = MOST_LOOKS

    def misfit(self, schema: Json, value: Json, path: str, depth: int) -> str | None:
        self._left -= 1
        if not isinstance(schema, dict) or depth > DEEPEST or self._left < 0:
            return None
        if "$ref" in schema:
            return self.misfit(_referred(str(schema["$ref"]), self._document), value, path, depth + 1)
        for check in (_wrong_type, _wrong_value, _wrong_bounds):
            if found := check(schema, value):
                return f"{path} {found}"
        if isinstance(value, dict):
            found = self._wrong_object(schema, value, path, depth)
        else:
            items = enumerate(value) if isinstance(value, list) else ()
            inside = (self.misfit(schema.get("items"), one, f"{path}[{number}]", depth + 1) for number, one in items)
            found = next((wrong for wrong in inside if wrong), None)
        return found or self._wrong_choice(schema, value, path, depth)

    def _wrong_object(self, schema: Mapping[str, Json], value: Mapping[str, Json], path: str, depth: int) -> str | None:
        required = schema.get("required")
        for key in required if isinstance(required, list) else ():
            if key not in value:
                return f"{path}.{key} is missing, the schema requires it"
        properties = schema.get("properties")
        known = properties if isinstance(properties, dict) else {}
        for key, one in value.items():
            rule = known.get(key, schema.get("additionalProperties"))
            if rule is False:
                return f"{path}.{key} is nothing that the schema knows"
            if found := self.misfit(rule, one, f"{path}.{key}", depth + 1):
                return found
        return None

    def _wrong_choice(self, schema: Mapping[str, Json], value: Json, path: str, depth: int) -> str | None:
        every = schema.get("allOf")
        for one in every if isinstance(every, list) else ():
            if found := self.misfit(one, value, path, depth + 1):
                return found
        for name in ("anyOf", "oneOf"):
            choices = schema.get(name)
            if isinstance(choices, list) and choices:
                fits = any(self.misfit(one, value, path, depth + 1) is None for one in choices)
                if not fits:
                    return f"{path} is {_short(value)}, which fits none of the schema's {name}"
        return None


def _short(value: Json) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004  # one line of a reason
