"""Brings the real servers' programs: from Debian, Maven and Go, into this machine's packages and the checkout only."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from algodock_cli.stack.data_folder import project_folder
from algodock_cli.stack.errors import ServerMissing

__all__ = ["kafka_jars", "machine_program", "minio_binary", "postgres_binaries"]

_MINIO = "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c"  # the community edition is source only
_INSTALL_S = 1500

Progress = Callable[[str], None]


def machine_program(name: str, package: str, progress: Progress) -> Path:
    """Return a program of the machine, installing its Debian package if need be.

    Raises:
        ServerMissing: it is not there and cannot be installed here.
    """
    found = shutil.which(name)
    if found is None:
        _install(package, progress)
        found = shutil.which(name)
    if found is None:
        raise ServerMissing(f"the package {package} brought no {name}")
    return Path(found)


def postgres_binaries(progress: Progress) -> Path:
    """Return the folder of the newest PostgreSQL of the machine, installing Debian's if there is none.

    Raises:
        ServerMissing: it cannot be installed here.
    """
    for last_try in (False, True):
        versions = [folder for folder in Path("/usr/lib/postgresql").glob("*/bin") if (folder / "postgres").exists()]
        if versions:
            return max(versions, key=lambda folder: float(folder.parent.name))
        if not last_try:
            _install("postgresql", progress)
    raise ServerMissing("the package postgresql brought no server below /usr/lib/postgresql")


def kafka_jars(tools: Path, progress: Progress) -> Path:
    """Return the folder with Apache Kafka's jars, copied once by Maven as ``infra/real/kafka/pom.xml`` says.

    Raises:
        ServerMissing: Maven cannot be had, or failed.
    """
    description = project_folder() / "infra" / "real" / "kafka" / "pom.xml"
    jars = tools / "kafka" / "jars"
    noted = tools / "kafka" / "pom.xml"
    if not (noted.exists() and noted.read_bytes() == description.read_bytes()):
        maven = machine_program("mvn", "maven", progress)
        progress("copies Apache Kafka's jars (Maven)")
        shutil.rmtree(jars, ignore_errors=True)
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={jars}", "-DincludeScope=runtime"]
        _run([str(maven), "--batch-mode", "--quiet", "--file", str(description), *goal], "Maven")
        shutil.copyfile(description, noted)
    return jars


def minio_binary(tools: Path, progress: Progress) -> Path:
    """Return MinIO's program, built once by Go from the pinned source.

    Raises:
        ServerMissing: Go cannot be had, or the build failed.
    """
    folder = tools / "minio" / _MINIO.rpartition("@")[2]
    binary = folder / "minio"
    if not binary.exists():
        go = machine_program("go", "golang-go", progress)
        progress("builds MinIO (Go; some minutes the first time)")
        _run([str(go), "install", _MINIO], "go install", GOBIN=str(folder))
    return binary


def _install(package: str, progress: Progress) -> None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ServerMissing(f"{package} is not on this machine; install it (apt-get install {package}) and try again")
    progress(f"installs {package} (apt-get)")
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]
    quiet = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}  # the package's own service is not started
    _run([*apt, "update"], "apt-get update", **quiet)
    _run([*apt, "install", "--yes", "--no-install-recommends", package], "apt-get install", **quiet)


def _run(command: Sequence[str], what: str, **environment: str) -> None:
    done = subprocess.run(
        command,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=_INSTALL_S,
    )
    if done.returncode != 0:
        raise ServerMissing(f"{what} failed:\n{done.stdout[-3000:]}")
