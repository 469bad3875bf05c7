"""Apache Kafka as a server of the stack: what its storage tool is told."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from algodock_cli.real.kafka import ApacheKafka
from algodock_cli.stack.secret_store import Secrets
from algodock_cli.stack.servers import ServerContext

CLUSTER = "-Pj4-Pj4-Pj4-Pj4-Pj4-A"


def test_a_cluster_id_that_begins_with_a_dash_is_not_taken_for_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(bytes=b"\xf8\xf8" * 8))
    java = tmp_path / "java"
    java.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "${0%/*}/told"\n')
    java.chmod(0o755)
    folder = tmp_path / "kafka"
    folder.mkdir()
    context = ServerContext(folder, tmp_path, 9092, Secrets.load_or_make(tmp_path / "secrets.json"))
    ApacheKafka(context, java, tmp_path / "jars", 9093).prepare()
    told = (tmp_path / "told").read_text().splitlines()
    assert [word for word in told if word.startswith("--cluster-id")] == [f"--cluster-id={CLUSTER}"]
