"""The units for systemd: they name what is there, and systemd itself finds nothing wrong with them."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "infra" / "systemd"
HERE = "/opt/algodock"
PAGE = ROOT / "docs" / "flow" / "09-systemd.md"


class Unit(configparser.RawConfigParser):
    """A unit's file; a key may stand more than once, of which the last is kept."""

    def __init__(self, path: Path) -> None:
        super().__init__(strict=False)
        self.read(path)

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def installed(folder: Path) -> list[Path]:
    """Put the units where they would be used: with this checkout's place, one of the template."""
    made = []
    for unit in UNITS.iterdir():
        path = folder / unit.name.replace("@", "@1")
        text = unit.read_text().replace(f"{HERE}/.venv/bin/python", sys.executable)
        path.write_text(text.replace(HERE, str(ROOT)))
        made.append(path)
    return made


def complaints(folder: Path, units: list[Path]) -> list[str]:
    """Return what systemd says of these units; of the machine's own ones it may say anything."""
    program = shutil.which("systemd-analyze") or ""
    run = subprocess.run(
        [program, "verify", "--man=no", *map(str, units)], capture_output=True, text=True, check=False
    )  # fmt: skip
    return [line for line in run.stderr.splitlines() if str(folder) in line or "algodock" in line]


def test_every_path_and_module_that_a_unit_starts_is_there() -> None:
    units = {path.name: Unit(path) for path in UNITS.iterdir()}
    assert set(units) == {"algodock.service", "algodock-worker@.service", "algodock-workers.target"}
    platform, worker = units["algodock.service"]["Service"], units["algodock-worker@.service"]["Service"]
    for key in ("ExecStart", "ExecStop"):
        assert (ROOT / platform[key].split()[0].removeprefix(f"{HERE}/")).stat().st_mode & 0o111
    assert platform["KillMode"] == "process", "the algorithms outlive the platform"
    data = platform["Environment"].removeprefix("ALGODOCK_DATA_DIR=")
    assert platform["PIDFile"] == f"{data}/run/supervisord.pid", "where `up` has its supervisord note its process"
    module = re.search(r"-m (\w+) worker", worker["ExecStart"])
    assert module is not None
    assert (ROOT / "services" / "runner" / module[1] / "__main__.py").exists()


def test_the_page_says_how_each_unit_is_used() -> None:
    page = PAGE.read_text()
    for path in UNITS.iterdir():
        assert path.name.replace("@", "@N") in page


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd on this machine")
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    units = installed(tmp_path)
    assert complaints(tmp_path, units) == []
    broken = tmp_path / "broken.service"
    broken.write_text((tmp_path / "algodock.service").read_text().replace("Restart=always", "Restart=whenever"))
    assert "restart specifier" in complaints(tmp_path, [broken])[0], "and it would say so"
