"""What a repository becomes, and what is said when it becomes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from algodock_deployer.clients.bundles import FolderSource
from algodock_deployer.domain.detection import detect
from algodock_deployer.domain.errors import EntryNotFound, ManifestInvalid, ReleaseFailure
from algodock_deployer.domain.plan import Interpreters, Plan
from algodock_deployer.domain.source import MemorySource

FASTAPI = "from fastapi import FastAPI\napp = FastAPI()\n"
PREDICT = "def predict(x: int) -> int:\n    return x\n"


def plan(**files: str) -> Plan:
    return detect(MemorySource({name.replace("__", "."): text for name, text in files.items()}))


def package(**fields: object) -> str:
    return json.dumps(fields)


def test_an_asgi_app_is_run_by_uvicorn_which_is_added_when_it_is_missing() -> None:
    found = plan(main__py=FASTAPI, requirements__txt="fastapi\n")
    assert (found.kind, found.target, found.requirements) == ("asgi", "main:app", ["fastapi", "uvicorn"])
    pinned = plan(main__py=FASTAPI, requirements__txt="fastapi\nUvicorn[standard]==0.30\n")
    assert pinned.requirements == ["fastapi", "Uvicorn[standard]==0.30"]
    argv = found.argv(Interpreters(python="/e/bin/python"), "127.0.0.1", 8101)
    assert argv[:4] == ["/e/bin/python", "-m", "uvicorn", "main:app"]
    assert "--no-access-log" in argv


@pytest.mark.parametrize(
    "source",
    [
        "from fastapi import FastAPI\ntry:\n    app = FastAPI()\nexcept Exception:\n    raise\n",
        "from service import app\n",
        "import fastapi\napp: fastapi.FastAPI = fastapi.FastAPI()\n",
        "async def app(scope, receive, send): ...\n",
        "from make import create_app\napp = create_app()\n",
    ],
)
def test_every_way_to_have_an_app_is_seen(source: str) -> None:
    assert plan(main__py=source).kind == "asgi"


@pytest.mark.parametrize(
    "source",
    [
        "print('no app')\n",
        "from flask import Flask\napp = Flask(__name__)\nif __name__ == '__main__':\n    app.run()\n",
        "import flask as f\napp = f.Flask(__name__)\n",
        "if __name__ == '__main__':\n    from fastapi import FastAPI\n    app = FastAPI()\n",
        "def make():\n    app = 1\n",
    ],
)
def test_a_main_without_an_asgi_app_is_run_as_it_is(source: str) -> None:
    found = plan(main__py=source)
    assert (found.kind, found.target, found.requirements) == ("script", "main.py", [])


def test_the_standard_layout_runs_its_main() -> None:
    found = plan(main__py=FASTAPI, ai_algorithm__py=PREDICT, config__py="PORT = 1\n", requirements__txt="fastapi\n")
    assert (found.kind, found.uses_sdk) == ("asgi", False)


@pytest.mark.parametrize(
    "source", [PREDICT, "class Algorithm:\n    pass\n", "class Mine:\n    def predict(self): ...\n"]
)
def test_an_ai_algorithm_alone_is_wrapped_by_the_sdk(source: str) -> None:
    found = plan(ai_algorithm__py=source)
    assert (found.kind, found.target, found.uses_sdk, found.sends_heartbeats) == ("sdk", "ai_algorithm.py", True, True)


def test_a_program_that_imports_or_requires_the_sdk_gets_it_without_an_index() -> None:
    assert plan(main__py="import algodock_sdk\n").uses_sdk
    found = plan(main__py="print(1)\n", requirements__txt="Algodock_SDK>=0.1\nhttpx\n")
    assert (found.uses_sdk, found.requirements) == (True, ["httpx"])


def test_a_start_script_is_a_node_service_run_without_npm() -> None:
    found = plan(package__json=package(scripts={"start": "node server.js --quiet"}))
    assert (found.kind, found.runtime, found.node_dependencies) == ("node", "node", False)
    assert found.argv(Interpreters(node="/n/node"), "h", 1) == ["/n/node", "server.js", "--quiet"]
    shell = plan(package__json=package(scripts={"start": "A=1 node x.js && true"}, dependencies={"ms": "2"}))
    assert shell.argv(Interpreters(node="/n/node"), "h", 1)[:2] == ["/bin/sh", "-c"]
    assert shell.node_dependencies


def test_the_manifest_says_how_to_start() -> None:
    entry = plan(algodock__yaml="entry: serve:api\n", serve__py="api = make()\n")
    assert (entry.kind, entry.target) == ("asgi", "serve:api")
    file = plan(algodock__yaml="entry: serve.py\n", serve__py="print(1)\n")
    assert (file.kind, file.target) == ("script", "serve.py")
    command = plan(algodock__yaml="command: [python, serve.py, --fast]\n", serve__py="print(1)\n")
    assert command.argv(Interpreters(python="/e/python"), "h", 1) == ["/e/python", "serve.py", "--fast"]
    node = plan(algodock__yaml="entry: server.js\n", server__js="")
    assert node.argv(Interpreters(node="/n/node"), "h", 1) == ["/n/node", "server.js"]


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ("entry: gone:app\n", "no gone.py"),
        ("entry: main:gone\n", "defines no gone"),
        ("entry: gone.py\n", "not in the repository"),
    ],
)
def test_an_entry_that_is_not_there_is_said_so(manifest: str, said: str) -> None:
    with pytest.raises(EntryNotFound, match=said):
        plan(algodock__yaml=manifest, main__py="app = 1\n")


def test_an_entry_cannot_leave_the_repository() -> None:
    with pytest.raises(ManifestInvalid, match="no path inside"):
        plan(algodock__yaml="entry: ../../etc/x.py\n")


@pytest.mark.parametrize("manifest", ["command: [python, ../out.py]", "command: [python, OUT.py]", "entry: DOTTED:app"])
def test_no_file_outside_the_repository_is_read(tmp_path: Path, manifest: str) -> None:
    """What is wrong with a file is said with its line: that of another's file is nobody's to know."""
    outside = tmp_path / "out"
    outside.with_suffix(".py").write_text("secret = (\n")
    (tmp_path / "code").mkdir()
    text = manifest.replace("OUT", str(outside)).replace("DOTTED", str(outside).replace("/", "."))
    (tmp_path / "code" / "algodock.yaml").write_text(text)
    if manifest.startswith("command"):  # the program may find it, where its own user may read it
        assert detect(FolderSource(tmp_path / "code")).kind == "command"
    else:
        with pytest.raises(EntryNotFound, match="there is no"):
            detect(FolderSource(tmp_path / "code"))
    with pytest.raises(FileNotFoundError):
        FolderSource(tmp_path / "code").read("../out.py")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"algodock.yaml": 'command: [python, "a\\0b"]'}, "command.1: it holds a zero byte"),
        ({"algodock.yaml": 'command: [python, "\\ud800.py"]'}, "command.1: it holds a zero byte or half a character"),
        ({"algodock.yaml": 'health: "/a\\0b"', "main.py": "app = 1"}, "health: it holds"),
        ({"package.json": '{"scripts": {"start": "node a\\u0000b"}}'}, "target: it holds"),
        ({"requirements.txt": "a\0b\n", "main.py": "app = 1"}, "requirements.0: it holds"),
    ],
)
def test_what_no_command_and_no_path_can_hold_is_refused(files: dict[str, str], said: str) -> None:
    with pytest.raises(ManifestInvalid, match=said):
        detect(MemorySource(files))


def test_a_word_that_is_too_long_for_a_path_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "algodock.yaml").write_text(f"command: [python, {'x' * 5000}.py]")
    assert detect(FolderSource(tmp_path)).kind == "command"


def test_nothing_recognisable_lists_what_was_looked_for_and_found() -> None:
    with pytest.raises(EntryNotFound) as caught:
        plan(README__md="hello", ai_algorithm__py="def other(): ...\n")
    for word in (
        "algodock.yaml",
        "main.py",
        "ai_algorithm.py",
        "package.json",
        "Dockerfile",
        "README.md",
        "no predict",
    ):
        assert word in caught.value.detail


def test_a_model_elsewhere_is_served_without_any_code() -> None:
    text = "runtime: openai\nopenai: {endpoint: 'http://127.0.0.1:11434/v1/', model: qwen2.5, secret: OPENAI_API_KEY}\n"
    found = plan(algodock__yaml=text, main__py=FASTAPI)
    assert (found.kind, found.uses_sdk, found.sends_heartbeats) == ("chat", True, True)
    assert found.argv(Interpreters(python="/p"), "127.0.0.1", 1) == ["/p", "-m", "algodock_sdk.chat"]
    assert found.manifest.openai is not None
    assert found.manifest.openai.endpoint == "http://127.0.0.1:11434/v1"


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"Dockerfile": "FROM x", "README__md": ""}, []),
        ({"Dockerfile": "FROM x", "main__py": FASTAPI, "algodock__yaml": "runtime: docker"}, []),
        ({"Dockerfile": "FROM x", "algodock__yaml": "runtime: docker\ncommand: [python, x.py]"}, ["python", "x.py"]),
    ],
)
def test_a_dockerfile_is_a_container(files: dict[str, str], command: list[str]) -> None:
    found = plan(**files)
    assert (found.kind, found.runtime) == ("container", "docker")
    assert found.argv(Interpreters(), "127.0.0.1", 8100) == command


def test_a_grpc_service_is_a_program_of_its_own() -> None:
    server = "import grpc\nserver = grpc.server(None)\n"
    assert plan(algodock__yaml="protocol: grpc", main__py=server).kind == "script"
    assert plan(algodock__yaml="protocol: grpc\ncommand: [python, server.py]", server__py=server).kind == "command"


@pytest.mark.parametrize(("file", "source"), [("main__py", FASTAPI), ("ai_algorithm__py", PREDICT)])
def test_what_speaks_http_is_no_grpc_service(file: str, source: str) -> None:
    with pytest.raises(ManifestInvalid, match=r"protocol: grpc, but .* speaks HTTP"):
        plan(**{"algodock__yaml": "protocol: grpc", file: source})


def test_a_dockerfile_beside_a_program_is_not_asked_for() -> None:
    assert plan(Dockerfile="FROM x", main__py=FASTAPI).kind == "asgi"


def test_runtime_docker_without_a_dockerfile_is_said_so() -> None:
    with pytest.raises(EntryNotFound, match="runtime: docker, and there is no Dockerfile"):
        plan(algodock__yaml="runtime: docker")


def test_a_syntax_error_is_found_early_with_file_and_line() -> None:
    with pytest.raises(ReleaseFailure, match=r"SyntaxError: .*, main\.py line 2"):
        plan(main__py="x = 1\nthis is not python (\n")
    with pytest.raises(ReleaseFailure, match=r"SyntaxError: .*, lib/deep\.py line 1"):
        plan(main__py="from lib.deep import x\n", **{"lib/__init__.py": "", "lib/deep__py": "def ("})
    with pytest.raises(ReleaseFailure, match=r"IndentationError: .*, ai_algorithm\.py line 2"):
        plan(ai_algorithm__py="def predict():\nreturn 1\n")


def test_a_broken_file_that_nothing_imports_is_no_matter() -> None:
    assert plan(main__py=FASTAPI, **{"old/python2__py": "print 'hello'"}).kind == "asgi"


def test_zero_bytes_in_a_source_are_an_error_with_its_name() -> None:
    with pytest.raises(ReleaseFailure, match=r"main\.py"):
        plan(main__py="x = 1\0")


def test_newer_syntax_is_left_to_the_newer_python_that_was_asked_for() -> None:
    assert plan(algodock__yaml='python: "3.99"\n', main__py="this is not python (").kind == "asgi"


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_broken_package_json_is_said_so(text: str) -> None:
    with pytest.raises(ManifestInvalid, match=r"package\.json"):
        plan(package__json=text)


def test_a_plan_survives_being_kept() -> None:
    found = plan(
        algodock__yaml="models: [{path: m/x.onnx, from: 's3://models/x.onnx'}]\nresources: {memory: 1Gi}\n",
        main__py=FASTAPI,
    )
    assert Plan.model_validate(found.model_dump(mode="json", by_alias=True)) == found
