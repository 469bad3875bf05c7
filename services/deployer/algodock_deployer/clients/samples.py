"""Reads a repository's samples from its unpacked source, with the files that lie beside them."""

from __future__ import annotations

import base64
import json
import mimetypes
from pathlib import Path
from typing import Any

import structlog

from algodock_deployer.domain.errors import SampleFailed

__all__ = ["read_samples", "with_files"]

log = structlog.get_logger()

MAX_SAMPLES = 100
MAX_SAMPLE_BYTES = 20 * 2**20


def read_samples(code: Path, folder: Path) -> tuple[list[tuple[str, dict[str, Any]]], dict[str, Path]]:
    """Return the samples, each with its file's name, and the files beside them; what is no sample is left out."""
    if not folder.is_dir() or not folder.resolve().is_relative_to(code.resolve()):
        return [], {}
    found: list[tuple[str, dict[str, Any]]] = []
    files: dict[str, Path] = {}
    room = MAX_SAMPLE_BYTES
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.is_symlink() or path.stat().st_size > room:
            continue
        room -= path.stat().st_size
        name = path.relative_to(folder).as_posix()
        if path.suffix != ".json":
            files[name] = path
            continue
        try:
            document = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            log.info("sample_is_no_json", file=name)
            continue
        listed = document if isinstance(document, list) else [document]
        found += [(name, one) for one in listed if isinstance(one, dict) and "input" in one]
    return found[:MAX_SAMPLES], files


def with_files(file: str, value: Any, files: dict[str, Path]) -> Any:
    """Return a sample's input with every ``{"$file": "name"}`` holding the file itself, as a data URL.

    Raises:
        SampleFailed: there is no such file beside the sample.
    """
    if isinstance(value, list):
        return [with_files(file, one, files) for one in value]
    if not isinstance(value, dict):
        return value
    name = value.get("$file")
    if not isinstance(name, str) or ":" in name:
        return {key: with_files(file, one, files) for key, one in value.items()}
    if name not in files:
        raise SampleFailed(f"{file}: there is no file {name!r} beside it")
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return {**value, "$file": f"data:{kind};base64,{base64.b64encode(files[name].read_bytes()).decode()}"}
