"""The data folder: secrets for their owner, sockets that the kernel takes, one command at a time, logs."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from algodock_cli.stack.data_folder import DataFolder
from algodock_cli.stack.errors import StackBusy
from algodock_cli.stack.log_files import follow_logs, last_lines
from algodock_cli.stack.secret_store import Secrets


def test_secrets_are_random_kept_and_only_their_owners(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    made = Secrets.load_or_make(file)
    assert Secrets.load_or_make(file) == made
    assert made != Secrets.load_or_make(tmp_path / "other.json")
    assert file.stat().st_mode & 0o777 == 0o600


def test_secrets_are_not_shown_by_a_traceback(tmp_path: Path) -> None:
    made = Secrets.load_or_make(tmp_path / "secrets.json")
    shown = repr(made)
    assert made.identity_public_key in shown
    assert not any(value in shown for key, value in vars(made).items() if key != "identity_public_key")


def test_the_identity_keys_are_a_pair(tmp_path: Path) -> None:
    import base64

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    made = Secrets.load_or_make(tmp_path / "secrets.json")
    private = Ed25519PrivateKey.from_private_bytes(base64.b64decode(made.identity_private_key))
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(made.identity_public_key))
    public.verify(private.sign(b"who"), b"who")


def test_a_deep_data_folder_has_its_socket_where_the_kernel_can_bind_it(tmp_path: Path) -> None:
    deep = DataFolder.at(tmp_path / ("d" * 80) / ("e" * 80))
    path = deep.socket("supervisord.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert deep.socket("supervisord.sock") == path
    path.unlink()
    path.parent.rmdir()


def test_a_shallow_one_has_it_beside_the_rest() -> None:
    assert DataFolder(Path("/data")).socket("a.sock") == Path("/data/run/a.sock")


def test_two_commands_on_one_folder_do_not_meet(tmp_path: Path) -> None:
    folder = DataFolder.at(tmp_path)
    with folder.held(), pytest.raises(StackBusy), DataFolder.at(tmp_path).held():
        pass
    with folder.held():
        pass


def test_the_environment_says_where_data_lies(tmp_path: Path) -> None:
    made = DataFolder.here({"ALGODOCK_DATA_DIR": str(tmp_path / "data")})
    assert made.path == tmp_path / "data"
    assert made.path.stat().st_mode & 0o777 == 0o711  # algorithms of another uid pass through
    for name in ("run", "logs", "servers", "git", "forge", "mirrors", "algorithms"):
        assert (made.path / name).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("count", [0, 1, 3, 1000, 200_000])
def test_the_last_lines_are_read_from_the_end(tmp_path: Path, count: int) -> None:
    lines = [f"line {number}" for number in range(20_000)]
    file = tmp_path / "a.log"
    file.write_text("\n".join(lines) + "\n")
    assert last_lines(file, count) == lines[len(lines) - min(count, len(lines)) :]


def test_following_goes_on_in_the_file_that_rotation_begins(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    file.write_text("old\n")
    new = follow_logs({"a": file})

    with file.open("a") as opened:
        opened.write("one\ntwo")
    file.rename(tmp_path / "a.log.1")
    file.write_text("3\n")
    assert [next(new), next(new)] == [("a", "one"), ("a", "two3")]
    file.write_text("\n")  # emptied in its place
    assert next(new) == ("a", "")


def test_nothing_is_left_half_written(tmp_path: Path) -> None:
    Secrets.load_or_make(tmp_path / "secrets.json")
    assert [file.name for file in tmp_path.iterdir()] == ["secrets.json"]
    json.loads((tmp_path / "secrets.json").read_text())
