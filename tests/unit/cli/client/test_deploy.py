"""``deploy``: what of a folder is pushed, and how its release is followed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from algodock_cli.client.access import Access
from algodock_cli.client.deploying import name_of
from algodock_cli.client.pushing import PushFailed, Source
from algodock_cli.failures import CommandFailed

from .conftest import FakeGateway, Run, failure

ACCESS = Access("http://127.0.0.1:9", "secret-key")


def git(*arguments: str, cwd: Path) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    run = subprocess.run(["git", *who, *arguments], cwd=cwd, check=True, capture_output=True, text=True)  # noqa: S607
    return run.stdout.strip()


@pytest.fixture(autouse=True)
def _no_git_of_the_person(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "no-config"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def forge(tmp_path: Path) -> Path:
    bare = tmp_path / "forge.git"
    bare.mkdir()
    git("init", "-q", "--bare", "-b", "main", cwd=bare)
    return bare


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "algo"
    made.mkdir()
    (made / "ai_algorithm.py").write_text("def predict(): return 1\n")
    return made


def pushed(folder: Path, forge: Path) -> Source:
    with Source.of(folder, str(forge), ACCESS) as source:
        source.push().finish(30)
        return source


def test_a_folder_is_pushed_as_a_snapshot_without_touching_it(folder: Path, forge: Path) -> None:
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_bytes(b"x")
    source = pushed(folder, forge)
    assert git("ls-tree", "-r", "--name-only", "main", cwd=forge) == "ai_algorithm.py"
    assert git("rev-parse", "main", cwd=forge) == source.commit
    assert not (folder / ".git").exists()


def test_the_next_snapshot_stands_on_the_one_before_and_an_unchanged_one_is_told(folder: Path, forge: Path) -> None:
    first = pushed(folder, forge)
    assert not first.unchanged
    assert pushed(folder, forge).unchanged
    (folder / "new.py").write_text("")
    third = pushed(folder, forge)
    assert not third.unchanged
    assert git("rev-list", "--count", "main", cwd=forge) == "3"


def test_what_the_repository_around_it_ignores_is_left_out(folder: Path, forge: Path) -> None:
    around = folder.parent / "around"
    around.mkdir()
    git("init", "-q", cwd=around)
    (around / ".gitignore").write_text("build/\n")
    inside = around / "algo"
    folder.rename(inside)
    (inside / "build").mkdir()
    (inside / "build" / "model.bin").write_text("x")
    (inside / "[odd] name.txt").write_text("x")
    git("add", ".", cwd=around)
    (inside / "gone.py").write_text("")
    git("add", ".", cwd=around)
    (inside / "gone.py").unlink()
    pushed(inside, forge)
    assert git("ls-tree", "-r", "--name-only", "main", cwd=forge).splitlines() == ["[odd] name.txt", "ai_algorithm.py"]


def test_a_repository_is_pushed_as_it_is(folder: Path, forge: Path) -> None:
    git("init", "-q", "-b", "trunk", cwd=folder)
    git("add", ".", cwd=folder)
    git("commit", "-q", "-m", "mine", cwd=folder)
    (folder / "later.py").write_text("")
    source = pushed(folder, forge)
    assert source.own_repository
    assert source.uncommitted
    assert git("rev-parse", "main", cwd=forge) == git("rev-parse", "HEAD", cwd=folder)


def test_another_history_is_refused_unless_forced(folder: Path, forge: Path) -> None:
    pushed(folder, forge)
    git("init", "-q", cwd=folder)
    git("add", ".", cwd=folder)
    git("commit", "-q", "-m", "other", cwd=folder)
    with Source.of(folder, str(forge), ACCESS) as source:
        with pytest.raises(PushFailed, match="rejected"):
            source.push().finish(30)
        source.push(force=True).finish(30)
    assert git("rev-parse", "main", cwd=forge) == source.commit


def test_a_forge_that_is_away_is_told(folder: Path) -> None:
    with pytest.raises(PushFailed, match="ls-remote"):
        Source.of(folder, "http://127.0.0.1:9/x.git", ACCESS)


def test_an_empty_repository_has_nothing_to_push(folder: Path, forge: Path) -> None:
    git("init", "-q", cwd=folder)
    with pytest.raises(PushFailed, match="without a commit"):
        Source.of(folder, str(forge), ACCESS)


def test_the_key_is_never_an_argument(folder: Path, forge: Path) -> None:
    with Source.of(folder, str(forge), ACCESS) as source:
        push = source.push()
        assert "secret-key" not in " ".join(map(str, push.process.args))  # type: ignore[arg-type]  # a list
        push.finish(30)


def test_the_name_comes_from_the_manifest_or_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "My_Algo"
    folder.mkdir()
    assert name_of(folder) == "my-algo"
    (folder / "algodock.yaml").write_text("name: other\n")
    assert name_of(folder) == "other"
    (folder / "algodock.yaml").write_text("a: [")
    with pytest.raises(CommandFailed, match="not YAML"):
        name_of(folder)


def release(commit: str, state: str, **more: object) -> dict[str, object]:
    step = {"name": "build", "started_at": "2026-01-01T00:00:00Z", "ended_at": None, "detail": ""}
    return {"id": "r1", "commit": commit, "state": state, "steps": [step], **more}


@pytest.fixture
def fixed_commit(monkeypatch: pytest.MonkeyPatch) -> str:
    """Make snapshots of the same folder the same commit."""
    monkeypatch.setenv("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z")
    return ""


@pytest.mark.usefixtures("fixed_commit")
def test_deploy_makes_the_algorithm_pushes_and_follows(fake: FakeGateway, run: Run, folder: Path, forge: Path) -> None:
    with Source.of(folder, str(forge), ACCESS) as source:
        commit = source.commit
    fake.answer("POST /api/v1/algorithms", {"id": "1", "name": "algo", "clone_url": str(forge)}, status=201)
    fake.answer(
        "GET /api/v1/services/releases/algo",
        {"releases": []},
        {"releases": [release(commit, "building")]},
        {"releases": [release(commit, "live")]},
    )
    shown = run("deploy", str(folder), "--json")
    assert shown.exit_code == 0, shown.output
    deployed = json.loads(shown.stdout.splitlines()[-1])
    assert deployed["release"]["state"] == "live"
    assert deployed["url"] == f"{fake.url}/ai/algo"
    assert "build …" in shown.stderr
    assert git("rev-parse", "main", cwd=forge) == commit


@pytest.mark.usefixtures("fixed_commit")
def test_a_failed_release_ends_deploy_with_its_reason(fake: FakeGateway, run: Run, folder: Path, forge: Path) -> None:
    with Source.of(folder, str(forge), ACCESS) as source:
        commit = source.commit
    fake.answer("POST /api/v1/algorithms", {"id": "1", "name": "algo", "clone_url": str(forge)})
    fake.answer(
        "GET /api/v1/services/releases/algo",
        {"releases": [release(commit, "failed", step="check", reason="SyntaxError: invalid syntax")]},
    )
    failed = failure(run("deploy", str(folder)))
    assert failed.exit_code == 1
    assert "SyntaxError" in str(failed)
    assert "build-log algo" in str(failed)


def test_an_unchanged_folder_that_runs_is_not_pushed_again(
    fake: FakeGateway, run: Run, folder: Path, forge: Path
) -> None:
    commit = pushed(folder, forge).commit
    fake.answer("POST /api/v1/algorithms", {"id": "1", "name": "algo", "clone_url": str(forge)})
    fake.answer("GET /api/v1/services/status/algo", {"status": "running"})
    fake.answer("GET /api/v1/services/releases/algo", {"releases": [release(commit, "live")]})
    assert run("deploy", str(folder)).exit_code == 0
    assert git("rev-parse", "main", cwd=forge) == commit


def test_a_push_that_makes_no_release_is_told_after_a_while(
    fake: FakeGateway, run: Run, folder: Path, forge: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("algodock_cli.client.deploying._NO_HOOK_S", 0.3)
    fake.answer("POST /api/v1/algorithms", {"id": "1", "name": "algo", "clone_url": str(forge)})
    fake.answer("GET /api/v1/services/releases/algo", {"releases": []})
    assert "made no release" in str(failure(run("deploy", str(folder))))
