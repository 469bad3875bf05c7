"""Where the gateway is and with which key: options, then the environment, then what a login or ``up`` wrote."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from algodock_cli.failures import CommandFailed
from algodock_cli.stack.data_folder import DataFolder

__all__ = ["Access", "NoAccess", "find_access", "is_loopback", "key_for", "logins_file", "remember_login"]

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class NoAccess(CommandFailed):
    """No platform is named, or no key for it."""

    exit_code = 3


@dataclass(frozen=True)
class Access:
    """A platform and the key that opens it."""

    url: str
    key: str


def find_access(url: str | None, key: str | None, environment: Mapping[str, str] | None = None) -> Access:
    """Return the access that the options, the environment, a login or the data folder give, in this order.

    Raises:
        NoAccess: nothing names a platform, or nothing holds a key for the one that is named.
    """
    environment = os.environ if environment is None else environment
    url = (url or environment.get("ALGODOCK_URL") or "").rstrip("/")
    key = key or environment.get("ALGODOCK_API_KEY") or ""
    if not url:
        own = _own_platform(environment)
        if own is None:
            raise NoAccess(
                "no platform is named, and none was started here\n"
                "  next: `algodock up` starts one; --url or ALGODOCK_URL names another"
            )
        return Access(own.url, key or own.key)
    key = key or key_for(url, environment) or ""
    if not key:
        raise NoAccess(f"no key for {url}\n  next: give --key or ALGODOCK_API_KEY, or `algodock login --url {url}`")
    return Access(url, key)


def key_for(url: str, environment: Mapping[str, str]) -> str | None:
    """Return the key that a login or the data folder holds for the platform at ``url``."""
    try:
        logins: dict[str, str] = json.loads(logins_file(environment).read_text("utf-8"))
    except FileNotFoundError:
        logins = {}
    if url in logins:
        return logins[url]
    own = _own_platform(environment)
    return own.key if own and own.url == url else None


def remember_login(access: Access, environment: Mapping[str, str]) -> Path:
    """Keep the key for its platform in the person's own configuration (mode 0600) and return the file."""
    file = logins_file(environment)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        logins = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        logins = {}
    fresh = file.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as opened:
        json.dump({**logins, access.url: access.key}, opened, indent=1)
    fresh.replace(file)
    return file


def logins_file(environment: Mapping[str, str]) -> Path:
    """Return where logins are kept: ``$XDG_CONFIG_HOME/algodock/logins.json``."""
    home = environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME") or Path.home()) / ".config"
    return Path(home) / "algodock" / "logins.json"


def is_loopback(url: str) -> bool:
    """Tell whether a URL means this machine, so that no proxy is asked for it."""
    return urlsplit(url).hostname in _LOOPBACK


def _own_platform(environment: Mapping[str, str]) -> Access | None:
    """Return the platform of this data folder, from the file that the gateway wrote."""
    file = DataFolder.here(environment).credentials_file
    try:
        written = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return None
    return Access(str(written["url"]).rstrip("/"), str(written["api_key"]))
