"""Ends the algorithms that run under a supervisord of the user's; that one, and all else in it, goes on."""

from __future__ import annotations

import json
import time
import xmlrpc.client
from pathlib import Path
from urllib.parse import unquote, urlsplit

from algodock_cli.stack.errors import StackError

__all__ = ["end_programs"]

NOTE = "users-supervisord.json"
_STOP_S = 20.0
_STOPPED = frozenset({"STOPPED", "EXITED", "FATAL"})


def end_programs(folder: Path) -> bool:
    """Stop the programs that the deployer of this folder gave to a supervisord; return whether there were any.

    Args:
        folder: where the deployer notes which supervisord that is, and how it marks its files there.

    Raises:
        StackError: there are some, and the supervisord does not answer, or does not end one.
    """
    note = folder / NOTE
    if not note.exists():
        return False
    noted = json.loads(note.read_text(encoding="utf-8"))
    files = [path for path in Path(noted["programs"]).glob(f"ai-*{noted['suffix']}") if _marked(path, noted["mark"])]
    if not files:
        return False
    try:
        with _server(noted["url"]) as server:
            for path in files:
                _end(server, path.stem)
                path.unlink()
            server.supervisor.reloadConfig()
    except (OSError, xmlrpc.client.Error) as error:
        raise StackError(f"algorithms under your supervisord go on: {error}") from error
    return True


def _marked(path: Path, mark: str) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline() == mark


def _server(url: str) -> xmlrpc.client.ServerProxy:
    from supervisor.xmlrpc import SupervisorTransport

    parts = urlsplit(url)
    place = (
        f"unix://{unquote(parts.path)}" if parts.scheme == "unix" else f"http://{parts.hostname}:{parts.port or 9001}"
    )
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return xmlrpc.client.ServerProxy("http://localhost", SupervisorTransport(user, password, place))


def _end(server: xmlrpc.client.ServerProxy, program: str) -> None:
    """Stop one program and have it forgotten, whatever state it is in.

    Raises:
        OSError: it does not end.
    """
    from supervisor.xmlrpc import Faults

    name, end = f"{program}:{program}", time.monotonic() + _STOP_S
    while time.monotonic() < end:
        try:
            info = server.supervisor.getProcessInfo(name)
            if isinstance(info, dict) and info["statename"] in _STOPPED:
                server.supervisor.removeProcessGroup(program)
                return
            server.supervisor.stopProcess(name)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == Faults.BAD_NAME:
                return
            if fault.faultCode not in {Faults.NOT_RUNNING, Faults.STILL_RUNNING, Faults.FAILED}:
                raise
        time.sleep(0.05)
    msg = f"{program} did not end"
    raise OSError(msg)
