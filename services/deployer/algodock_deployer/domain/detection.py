"""Detection: from a release's source to its plan, in the order of the design's table."""

from __future__ import annotations

import ast
import json
import sys
from typing import TYPE_CHECKING, Any

from algodock_deployer.domain.errors import EntryNotFound, ManifestInvalid
from algodock_deployer.domain.manifest import MANIFEST, Manifest, parse_manifest, relative_path
from algodock_deployer.domain.plan import Plan
from algodock_deployer.domain.requirements import SDK, normalised_name, read_requirements
from algodock_deployer.domain.source import Source, check_imports

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LOOKED_FOR", "detect"]

LOOKED_FOR = (
    f"{MANIFEST} with entry or command, main.py, ai_algorithm.py with a predict function or a class Algorithm, "
    "package.json with a start script, Dockerfile"
)
_FOREIGN_APPS = frozenset(
    {"flask", "bottle", "django", "dash", "gradio", "streamlit", "tornado", "cherrypy", "pyramid"}
)
_SDK_MODULE = "algodock_sdk"
_HTTP_KINDS = frozenset({"asgi", "sdk"})


def detect(source: Source) -> Plan:
    """Return how to install and start what lies in ``source``.

    Raises:
        ReleaseFailure: a syntax error, a wrong manifest, a runtime that is not to be had, or nothing that it
            knows; the detail says which, where, and what was looked for.
    """
    manifest = parse_manifest(source.read(MANIFEST)) if source.has(MANIFEST) else Manifest()
    plan = _plan(source, manifest)
    if manifest.protocol == "grpc" and plan.kind in _HTTP_KINDS:
        what = "an ai_algorithm.py" if plan.kind == "sdk" else f"the ASGI application {plan.target}"
        msg = f"{MANIFEST} says protocol: grpc, but {what} speaks HTTP; name the gRPC server with command or entry"
        raise ManifestInvalid(msg)
    for place, text in _texts(plan.model_dump(by_alias=True)):
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            said = place.removeprefix("manifest.")
            raise ManifestInvalid(f"{said}: it holds a zero byte or half a character, which no command and no path can")
    return plan


def _texts(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text of a plan and where it stands."""
    if isinstance(value, str):
        yield place, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        yield from _texts(one, f"{place}.{key}".removeprefix("."))


def _plan(source: Source, manifest: Manifest) -> Plan:
    if manifest.runtime == "docker":
        if not source.has("Dockerfile"):
            raise EntryNotFound(f"{MANIFEST} says runtime: docker, and there is no Dockerfile")
        return _contained(manifest)
    if manifest.runtime == "openai":
        return Plan(kind="chat", runtime="python", requirements=["httpx>=0.27,<1"], uses_sdk=True, manifest=manifest)
    if manifest.command:
        return _commanded(source, manifest)
    if manifest.entry:
        return _entered(source, manifest, manifest.entry)
    found = _found(source, manifest)
    if found is not None:
        return found
    if source.has("Dockerfile"):
        return _contained(manifest)
    seen = ", ".join(list(source.top())[:20]) or "nothing"
    hint = " (ai_algorithm.py is there, but has no predict)" if source.has("ai_algorithm.py") else ""
    msg = f"Nothing here says how to run it. Looked for: {LOOKED_FOR}. Found: {seen}{hint}"
    raise EntryNotFound(msg)


def _contained(manifest: Manifest) -> Plan:
    return Plan(kind="container", runtime="docker", command=manifest.command or [], manifest=manifest)


def _found(source: Source, manifest: Manifest) -> Plan | None:
    if manifest.runtime != "node":
        if source.has("main.py"):
            trees = _checked(source, manifest, "main.py")
            asgi = trees is None or _is_asgi(trees["main.py"])
            return _python(source, manifest, "asgi" if asgi else "script", "main:app" if asgi else "main.py", trees)
        if source.has("ai_algorithm.py"):
            trees = _checked(source, manifest, "ai_algorithm.py")
            if trees is None or _has_predict(trees["ai_algorithm.py"]):
                return _python(source, manifest, "sdk", "ai_algorithm.py", trees)
    if manifest.runtime != "python" and source.has("package.json"):
        return _node(source, manifest)
    return None


def _commanded(source: Source, manifest: Manifest) -> Plan:
    command = manifest.command or []
    if manifest.runtime == "node" or (manifest.runtime is None and command[0] in {"node", "npm", "npx"}):
        return Plan(kind="command", runtime="node", command=command, manifest=manifest,
                    node_dependencies=_node_dependencies(_package(source)))  # fmt: skip
    scripts = [word for word in command[1:] if word.endswith(".py") and source.has(word)]
    trees = _checked(source, manifest, scripts[0]) if scripts else None
    return _python(source, manifest, "command", "", trees, command=command)


def _entered(source: Source, manifest: Manifest, entry: str) -> Plan:
    """Plan for ``entry``: ``module:attribute`` is an ASGI application, a ``.py`` or ``.js`` file is run."""
    module, colon, attribute = entry.partition(":")
    if colon:
        path = module.replace(".", "/")
        file = f"{path}.py" if source.has(f"{path}.py") else f"{path}/__init__.py"
        if not attribute.isidentifier() or not source.has(file):
            msg = f"{MANIFEST} says entry: {entry}, but there is no {path}.py"
            raise EntryNotFound(msg)
        trees = _checked(source, manifest, file)
        if trees is not None and not _defines(trees[file], attribute):
            msg = f"{MANIFEST} says entry: {entry}, but {file} defines no {attribute}"
            raise EntryNotFound(msg)
        return _python(source, manifest, "asgi", entry, trees)
    try:
        path = relative_path(entry)
    except ValueError as error:
        msg = f"{MANIFEST}: entry: {error}"
        raise ManifestInvalid(msg) from error
    if not source.has(path):
        msg = f"{MANIFEST} says entry: {entry}, which is not in the repository"
        raise EntryNotFound(msg)
    if path.endswith((".js", ".mjs", ".cjs")) or manifest.runtime == "node":
        return Plan(kind="script", runtime="node", target=path, manifest=manifest,
                    node_dependencies=_node_dependencies(_package(source)))  # fmt: skip
    trees = _checked(source, manifest, path)
    wrapped = path.rpartition("/")[2] == "ai_algorithm.py" and trees is not None and _has_predict(trees[path])
    return _python(source, manifest, "sdk" if wrapped else "script", path, trees)


def _python(  # one place makes every Python plan
    source: Source,
    manifest: Manifest,
    kind: Any,
    target: str,
    trees: dict[str, ast.Module] | None,
    *,
    command: list[str] | None = None,
) -> Plan:
    requirements = read_requirements(source)
    named = [line for line in requirements if normalised_name(line) == SDK]
    uses_sdk = kind == "sdk" or bool(named) or any(_imports(tree, _SDK_MODULE) for tree in (trees or {}).values())
    requirements = [line for line in requirements if line not in named]
    if kind == "asgi" and not any(normalised_name(line) == "uvicorn" for line in requirements):
        requirements.append("uvicorn")
    return Plan(kind=kind, runtime="python", target=target, command=command or [], requirements=requirements,
                uses_sdk=uses_sdk, manifest=manifest)  # fmt: skip


def _checked(source: Source, manifest: Manifest, entry: str) -> dict[str, ast.Module] | None:
    """Parse what the release imports of itself; None when its Python is newer than ours and cannot be judged here."""
    wanted = manifest.python
    if wanted and tuple(int(part) for part in wanted.split(".")[:2]) > sys.version_info[:2]:
        return None
    return check_imports(source, entry)


def _node(source: Source, manifest: Manifest) -> Plan | None:
    package = _package(source)
    scripts = package.get("scripts")
    start = scripts.get("start") if isinstance(scripts, dict) else None
    if not isinstance(start, str) or not start.strip():
        if manifest.runtime == "node":
            msg = "package.json has no start script"
            raise EntryNotFound(msg)
        return None
    return Plan(kind="node", runtime="node", target=start.strip(), manifest=manifest,
                node_dependencies=_node_dependencies(package))  # fmt: skip


def _package(source: Source) -> dict[str, Any]:
    if not source.has("package.json"):
        return {}
    try:
        document = json.loads(source.read("package.json"))
    except ValueError as error:
        msg = f"{type(error).__name__}: {error}, package.json"
        raise ManifestInvalid(msg) from error
    if not isinstance(document, dict):
        msg = "package.json must be an object"
        raise ManifestInvalid(msg)
    return document


def _node_dependencies(package: dict[str, Any]) -> bool:
    return bool(package.get("dependencies") or package.get("optionalDependencies"))


def _is_asgi(tree: ast.Module) -> bool:
    """Return whether the module's ``app`` is what an ASGI server can run: there, and of no foreign framework."""
    if not _defines(tree, "app"):
        return False
    origins = {
        (alias.asname or alias.name.split(".")[0]): alias.name for node in _top(tree) if isinstance(node, ast.Import)
        for alias in node.names
    } | {
        (alias.asname or alias.name): node.module or "" for node in _top(tree) if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }  # fmt: skip
    for node in _top(tree):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        named = any(isinstance(target, ast.Name) and target.id == "app" for target in targets)
        value = getattr(node, "value", None)
        if named and isinstance(value, ast.Call):
            maker: ast.expr = value.func
            while isinstance(maker, ast.Attribute):
                maker = maker.value
            origin = origins.get(maker.id, "") if isinstance(maker, ast.Name) else ""
            if origin.split(".")[0] in _FOREIGN_APPS:
                return False
    return True


def _top(tree: ast.Module) -> list[ast.stmt]:
    """Return the module's statements, those under ``try`` and ``with`` among them, not those under ``__main__``."""
    found: list[ast.stmt] = []
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop(0)
        found.append(node)
        if isinstance(node, ast.Try):
            waiting += [*node.body, *node.orelse, *node.finalbody, *(s for h in node.handlers for s in h.body)]
        elif isinstance(node, ast.With):
            waiting += node.body
        elif isinstance(node, ast.If) and not _asks_main(node.test):
            waiting += [*node.body, *node.orelse]
    return found


def _asks_main(test: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(test))


def _defines(tree: ast.Module, name: str) -> bool:
    """Return whether the module has a global ``name``, as far as can be told without running it."""
    for node in _top(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == name:
            return True
        if isinstance(node, ast.Import | ast.ImportFrom):
            if any((alias.asname or alias.name) in {name, "*"} for alias in node.names):
                return True
            continue
        stored = (n for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
        if isinstance(node, ast.Assign | ast.AnnAssign) and any(n.id == name for n in stored):
            return True
    return False


def _has_predict(tree: ast.Module) -> bool:
    """Return whether the SDK can wrap the module: it has ``predict``, ``Algorithm``, or a class with ``predict``."""
    for node in _top(tree):
        if isinstance(node, ast.ClassDef):
            methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)}
            if node.name == "Algorithm" or "predict" in methods:
                return True
    return _defines(tree, "predict")


def _imports(tree: ast.Module, module: str) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and any(alias.name.split(".")[0] == module for alias in node.names):
            return True
        if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == module:
            return True
    return False
