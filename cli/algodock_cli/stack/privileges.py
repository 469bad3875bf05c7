"""As whom PostgreSQL runs: it refuses root, so a platform started by root lends it another user.

Folders above it may be closed to everybody else (a clone in ``mktemp -d``); nobody's permissions are
changed for that. The process keeps the one right to pass and read them instead, or, where a
container withholds that, takes another name for root in a user namespace.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from algodock_cli.stack.errors import NoUserForPostgres
from algodock_cli.stack.programs import OWN_USER, Identity, Program

__all__ = ["identity_for", "reachable_by_others"]

_USERS = ("postgres", "daemon", "nobody")
"""Whom to lend; ``nobody`` last, since algorithms may run as that."""

_RIGHTS = ("dac_override", "dac_read_search")


def reachable_by_others(path: Path) -> bool:
    """Say whether a user that owns nothing here can open the path and, being a program, run it."""
    resolved = path.resolve()
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (resolved, *resolved.parents))


def identity_for(binary: Path, data: Path, scratch: Path) -> Identity:
    """Return an identity with which the binary runs (``--version`` is tried) and can reach its data.

    Raises:
        NoUserForPostgres: running as root, and neither way is open here.
    """
    if os.geteuid() != 0:
        return OWN_USER
    failures: list[str] = []
    for identity in _candidates((binary, data)):
        trial = Program(
            name="postgres-trial",
            command=(str(binary), "--version"),
            environment={"LC_ALL": "C"},
            directory=scratch,
            identity=identity,
        )
        done = trial.run_once(scratch)
        if done.returncode == 0:
            return identity
        failures.append(f"{identity.kind}: {done.stderr.strip()}")
    message = "PostgreSQL refuses to run as root, and no other user can be lent to it here"
    advice = "run ./algodock as an ordinary user, or set DATABASE_URL"
    raise NoUserForPostgres(f"{message} ({'; '.join(failures)}); {advice}")


def _candidates(paths: Iterable[Path]) -> Iterable[Identity]:
    user = _existing_user()
    needed = () if all(reachable_by_others(path) for path in paths) else _RIGHTS
    lent = Identity(kind="user", uid=user.pw_uid, gid=user.pw_gid, capabilities=needed)
    yield lent
    yield replace(lent, kind="namespace", capabilities=())


def _existing_user() -> pwd.struct_passwd:
    for name in _USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise NoUserForPostgres(f"none of the users {', '.join(_USERS)} exists; set DATABASE_URL or run as another user")
