"""Requirements as one text, and the keys that decide what is built again."""

from __future__ import annotations

import pytest

from algodock_deployer.domain.errors import ManifestInvalid, RequirementsInvalid
from algodock_deployer.domain.requirements import compile_key, environment_key, normalised_name, read_requirements
from algodock_deployer.domain.source import MemorySource


def read(**files: str) -> list[str]:
    return read_requirements(MemorySource({name.replace("__", "."): text for name, text in files.items()}))


def test_comments_blank_lines_and_continuations_are_taken_out() -> None:
    assert read(requirements__txt="# top\nfastapi  # why\n\nuvicorn \\\n  >=0.3\r\n") == ["fastapi", "uvicorn    >=0.3"]


def test_included_files_are_written_out() -> None:
    found = read(
        requirements__txt="-r base.txt\nb\n", **{"base__txt": "a\n-c more/pins.txt\n", "more/pins__txt": "c==1\n"}
    )
    assert found == ["a", "c==1", "b"]


def test_a_pyproject_counts_where_there_is_no_requirements_file() -> None:
    assert read(pyproject__toml='[project]\nname = "x"\ndependencies = ["httpx>=0.2"]\n') == ["httpx>=0.2"]
    assert read() == []
    with pytest.raises(ManifestInvalid, match=r"pyproject\.toml"):
        read(pyproject__toml="[project\n")


@pytest.mark.parametrize(
    "line",
    [
        "-e .", "--editable ./lib", ".", "./lib", "../lib", "/etc", "~/x", "x @ file:///etc/passwd", "file:///etc",
        "x @ git+file:///srv/x", "x @ git+ext::sh -c id", "-r ../../etc/passwd", "-r /etc/passwd", "-r gone.txt",
        "-r requirements.txt",
    ],
)  # fmt: skip
def test_a_line_that_leaves_the_repository_is_refused(line: str) -> None:
    with pytest.raises(RequirementsInvalid):
        read(requirements__txt=f"fastapi\n{line}\n")


@pytest.mark.parametrize("path", ["../outside.txt", "/etc/outside.txt", "a/../../outside.txt"])
def test_an_included_file_outside_is_not_read_where_it_is_there(path: str) -> None:
    source = MemorySource({"requirements.txt": f"-r {path}\n", path: "secret\n", path.lstrip("/"): "secret\n"})
    with pytest.raises(RequirementsInvalid, match=r"requirements\.txt line 1: .* is no path inside the repository"):
        read_requirements(source)


@pytest.mark.parametrize(
    "line", ["x @ git+https://host/x", "x @ https://host/x.whl", "--index-url https://host/simple", "a.b"]
)
def test_what_comes_over_the_network_is_left_to_uv(line: str) -> None:
    assert read(requirements__txt=line) == [line]


def test_names_are_compared_as_indexes_do() -> None:
    assert normalised_name("Uvi_Corn.x[standard]>=1 ; python_version > '3'") == "uvi-corn-x"


def test_whatever_an_environment_depends_on_makes_another_key() -> None:
    keys = {
        environment_key("a==1", "3.11.7", "linux", ""),
        environment_key("a==2", "3.11.7", "linux", ""),
        environment_key("a==1", "3.12.1", "linux", ""),
        environment_key("a==1", "3.11.7", "mac", ""),
        environment_key("a==1", "3.11.7", "linux", "sdk"),
    }
    assert len(keys) == 5
    assert compile_key(["a"], "3.11.7", "linux") == compile_key(["a"], "3.11.7", "linux")
    assert compile_key(["a", "b"], "3", "l") != compile_key(["ab"], "3", "l")
