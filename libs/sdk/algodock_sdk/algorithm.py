"""Finds the ``predict`` in an author's file: a function, or a class that may have ``load`` and ``close``, too."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from algodock_sdk.signature import Signature, SignatureError

__all__ = ["Algorithm", "AlgorithmError", "load_algorithm"]


class AlgorithmError(Exception):
    """The file holds nothing that can be served; says what was looked for."""


@dataclass(frozen=True)
class Algorithm:
    """What is served: ``predict`` with its signature, and the hooks around it."""

    predict: Callable[..., Any]
    signature: Signature
    name: str
    version: str = ""
    description: str = ""
    hooks: dict[str, Callable[[], Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, target: Any, *, name: str, version: str = "", description: str = "") -> Algorithm:
        """Wrap a function, an object with ``predict``, or a class that makes one without arguments.

        Raises:
            AlgorithmError: there is no ``predict``, or its parameters cannot be served.
        """
        owner = target() if inspect.isclass(target) else target
        predict = owner if inspect.isfunction(owner) else getattr(owner, "predict", None)
        if not callable(predict):
            msg = f"{target!r} has no predict that could be called"
            raise AlgorithmError(msg)
        try:
            signature = Signature(predict)
        except SignatureError as error:
            raise AlgorithmError(str(error)) from error
        hooks = {hook: getattr(owner, hook) for hook in ("load", "close") if callable(getattr(owner, hook, None))}
        text = description or inspect.getdoc(predict) or inspect.getdoc(target) or ""
        return cls(predict, signature, name, version, text, {} if inspect.isfunction(owner) else hooks)

    async def run_hook(self, hook: str) -> None:
        """Call ``load`` or ``close`` where the algorithm has it: in a thread unless it is a coroutine function."""
        function = self.hooks.get(hook)
        if function is None:
            return
        if inspect.iscoroutinefunction(function):
            await function()
            return
        from starlette.concurrency import run_in_threadpool

        await run_in_threadpool(function)


def load_algorithm(path: Path) -> Algorithm:
    """Import ``path`` as its folder's program would (that folder is the working one and first on the path).

    Raises:
        AlgorithmError: no such file, or nothing to serve in it.
        BaseException: whatever the author's code raises when it is imported.
    """
    path = path.resolve()
    if not path.is_file():
        msg = f"there is no file {path}"
        raise AlgorithmError(msg)
    os.chdir(path.parent)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        msg = f"{path.name} is no Python file"
        raise AlgorithmError(msg)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return Algorithm.of(
        _target(module),
        name=os.environ.get("ALGODOCK_NAME") or path.parent.name,
        version=str(getattr(module, "__version__", "")),
        description=inspect.getdoc(module) or "",
    )


def _target(module: ModuleType) -> Any:
    """Return the function ``predict``, the class ``Algorithm``, or the one class that has a ``predict``."""
    for found in (getattr(module, "predict", None), getattr(module, "Algorithm", None)):
        if inspect.isfunction(found) or (inspect.isclass(found) and hasattr(found, "predict")):
            return found
    classes = [
        found
        for found in vars(module).values()
        if inspect.isclass(found) and found.__module__ == module.__name__ and callable(getattr(found, "predict", None))
    ]
    if len(classes) == 1:
        return classes[0]
    found_names = f"; it has {len(classes)} classes with a predict, name one of them Algorithm" if classes else ""
    msg = f"{module.__name__}.py has neither a function predict nor a class Algorithm with a predict{found_names}"
    raise AlgorithmError(msg)
