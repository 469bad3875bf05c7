"""Names and addresses from outside: what is taken, and what never reaches git or a path."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algodock_gitea_sync.domain.errors import InvalidName
from algodock_gitea_sync.domain.gitea import GiteaConfig, check_server_url
from algodock_gitea_sync.domain.names import (
    CloneUrl,
    branch_of,
    check_branch,
    check_commit,
    check_full_name,
    check_label,
)

GIT = shutil.which("git") or "git"


@pytest.mark.parametrize("branch", ["main", "feature/x.y", "v1.2", "übung", "a-b_c", "release/2026-08"])
def test_branches_that_people_use_are_taken(branch: str) -> None:
    assert check_branch(branch) == branch


@pytest.mark.parametrize(
    "branch",
    [
        *("", "-x", "--upload-pack=touch /tmp/x", "a..b", "a b", "a\nb", "a\0b", "a~1", "a^", "a:b", "a?", "a*"),
        *("a[b", "a\\b", "@", "a@{1}", "a//b", "/a", "a/", "a.", "a.lock", "a.lock/b", ".a", "a/.b", "x" * 300),
        *("a\u202eb", "\ud800"),
    ],
)
def test_what_is_no_branch_or_could_be_an_option_is_refused(branch: str) -> None:
    with pytest.raises(InvalidName):
        check_branch(branch)


@given(st.text(min_size=1, max_size=30))
def test_git_takes_every_branch_that_is_taken_here(branch: str) -> None:
    try:
        check_branch(branch)
    except InvalidName:
        return
    subprocess.run([GIT, "check-ref-format", f"refs/heads/{branch}"], check=True)


def test_a_ref_names_a_branch_or_none() -> None:
    assert branch_of("refs/heads/a/b") == "a/b"
    assert branch_of("refs/tags/v1") is None
    with pytest.raises(InvalidName):
        branch_of("refs/heads/--x")


@pytest.mark.parametrize("commit", ["HEAD", "main", "a" * 39, "A" * 40, "g" * 40, "-" + "a" * 39, "a" * 40 + "\n"])
def test_a_commit_is_a_full_object_name(commit: str) -> None:
    with pytest.raises(InvalidName):
        check_commit(commit)
    assert check_commit("a" * 40) == "a" * 40
    assert check_commit("a" * 64) == "a" * 64


@pytest.mark.parametrize("name", ["a", "a/b/c", "../b", "a/..", "a/.git", "-x/b", "a/-x", "a b/c", "a/b\n", "a//b"])
def test_what_is_no_owner_and_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        check_full_name(name)
    with pytest.raises(InvalidName):
        check_label(name.replace("a", "A") + "/", "repository")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://gitea.example/team/echo.git", "https://gitea.example/team/echo.git"),
        ("https://gitea.example:443/team/echo", "https://gitea.example/team/echo.git"),
        ("http://10.0.0.5:3000/Team/echo.x/", "http://10.0.0.5:3000/Team/echo.x.git"),
        ("HTTP://GITEA.example/team/echo", "http://gitea.example/team/echo.git"),
    ],
)
def test_a_clone_url_is_taken_apart_and_put_together_cleanly(url: str, shown: str) -> None:
    assert str(CloneUrl.parse(url)) == shown


@pytest.mark.parametrize(
    "url",
    [
        *(
            "file:///etc/passwd",
            "ext::sh -c id",
            "ext::sh%20-c%20id",
            "git://h/a/b",
            "ssh://h/a/b",
            "git@h:a/b",
            "ftp://h/a/b",
        ),
        *("--upload-pack=id", "-oProxyCommand=id", "https://-h/a/b", "https:///a/b", "https://h/a", "https://h/a/b/c"),
        *(
            "https://u:p@h/a/b",
            "https://u@h/a/b",
            "https://h/a/b?x",
            "https://h/a/b#x",
            "https://h/a/b?",
            "https://h/../b",
        ),
        *("https://h/a/b\n", "https://h\\@evil/a/b", "https://h:99999/a/b", "https://h:x/a/b", "https://[::1]/a/b", ""),
        *("https://h/a/-b", "https://h%2f/a/b", "https://h/a/b\u3000", "https://" + "h" * 300 + "/a/b", "a" * 3000),
        "fd::17/foo",
    ],
)
def test_every_other_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidName):
        CloneUrl.parse(url)


@pytest.mark.parametrize("url", ["https://h/gitea", "h", "file:///x", "https://u:p@h", "https://h?x"])
def test_a_gitea_is_named_by_its_origin(url: str) -> None:
    with pytest.raises(InvalidName):
        check_server_url(url)
    assert check_server_url("https://h:3000/") == "https://h:3000"


@pytest.mark.parametrize("changed", [{"default_owner": "../x"}, {"repo_prefix": "/"}, {"access_token": "a\r\nb"}])
def test_a_configuration_that_could_not_be_used_is_refused(changed: dict[str, str]) -> None:
    whole = {"server_url": "https://h", "access_token": "t", "default_owner": "team", "repo_prefix": "p-"}
    GiteaConfig(None, **whole)  # type: ignore[arg-type]  # all texts
    with pytest.raises(InvalidName):
        GiteaConfig(None, **(whole | changed))  # type: ignore[arg-type]
