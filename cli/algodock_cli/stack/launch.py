"""Becomes one declared program: reads its JSON file, takes the identity it asks for, and executes it.

Run as a script with the standard library alone (``python -I -S launch.py PROGRAM.json``), because
supervisord and the tests start every process of the platform through it and nothing of it stays
behind: the program has this process's pid, exactly the environment that its file says, and the
secrets are never on a command line.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
_PR_SET_SECUREBITS = 28
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_CLONE_NEWUSER = 0x10000000
_AUTOGROUP_TRIES = 20
_AUTOGROUP_PAUSE_S = 0.1
_CAPABILITIES = {"dac_override": 1, "dac_read_search": 2}


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilitySet(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _prctl(option: int, *arguments: int) -> int:
    padded = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    return int(_libc().prctl(ctypes.c_int(option), *padded))


def become_user(uid: int, gid: int, capabilities: list[str]) -> None:
    """Become another user, keeping only the named capabilities over the coming exec.

    They are raised as ambient ones. ``access(2)`` would still ignore them for a real uid other than
    0, and PostgreSQL asks it about its own binary; the securebit stops that.

    Raises:
        OSError: the kernel or a container's policy does not allow a step of it.
    """
    wanted = 0
    for name in capabilities:
        wanted |= 1 << _CAPABILITIES[name]
    if wanted:
        _checked(_prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP), "securebits")
        last = int(Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="ascii"))
        for number in range(last + 1):
            if not wanted >> number & 1:
                _prctl(_PR_CAPBSET_DROP, number)  # may be absent from the bounding set already
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if wanted:
        header = _CapabilityHeader(_LINUX_CAPABILITY_VERSION_3, 0)
        sets = (_CapabilitySet * 2)(_CapabilitySet(wanted, wanted, wanted), _CapabilitySet(0, 0, 0))
        _checked(_libc().capset(ctypes.byref(header), sets), "capset")
        for name in capabilities:
            _checked(_prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAPABILITIES[name]), "ambient capability")
    _checked(_prctl(_PR_SET_NO_NEW_PRIVS, 1), "no_new_privs")


def enter_namespace(uid: int, gid: int) -> None:
    """Enter a user namespace in which this process's own user is called ``uid``.

    Files stay reachable as their owner, while ``geteuid()`` no longer says 0.

    Raises:
        OSError: user namespaces are switched off here.
    """
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    _checked(int(_libc().unshare(_CLONE_NEWUSER)), "unshare")
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{uid} {outer_uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{gid} {outer_gid} 1", encoding="ascii")


def signal_when_parent_ends(number: int) -> None:
    """Let the kernel send this process a signal when the one that started it ends; prctl(2), ``PR_SET_PDEATHSIG``.

    Raises:
        OSError: the kernel refused.
    """
    _checked(_prctl(_PR_SET_PDEATHSIG, number), "parent death signal")


def started_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot, or ``None`` where there is no /proc.

    With the pid it names one process for ever: pids are used again, the pair is not.
    """
    try:
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(line.rpartition(")")[2].split()[19])


def lead_session() -> None:
    """Let the kernel schedule this process apart from the others of its supervisord; sched(7), autogroups.

    Where it groups sessions for that, one session's processes share one share, and a call would wait in the gateway for
    what deploys, and in PostgreSQL for the object store. Who was not started by a supervisord stays in its session, so
    that the terminal's Ctrl-C reaches it.
    """
    if "SUPERVISOR_ENABLED" not in os.environ or os.getsid(0) == os.getpid():
        return
    with contextlib.suppress(OSError):
        # Who leads a group cannot lead a new session: supervisord made it one, and it is again afterwards.
        os.setpgid(0, os.getpgid(os.getppid()))
        os.setsid()


def yield_to_others(nice: int) -> None:
    """Let other programs go before this one and what it starts, where they want the same core; sched(7).

    Where the kernel groups sessions, nice values count within one only, so its own session's is lowered, too. One that
    it shares with others is left as it is. Best effort: a server at a usual priority is still a server.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, max(nice, os.getpriority(os.PRIO_PROCESS, 0)))
    if os.getsid(0) != os.getpid():
        return
    for _ in range(_AUTOGROUP_TRIES):
        try:
            Path("/proc/self/autogroup").write_text(str(nice), encoding="ascii")
        except BlockingIOError:  # the kernel lets all who are not root write one in 100 ms
            time.sleep(_AUTOGROUP_PAUSE_S)
        except OSError:  # a kernel without it, or a container that does not let it be written
            return
        else:
            return


def main(program_file: str) -> None:
    """Become the program that the file declares; does not return.

    Raises:
        OSError: the identity cannot be had or the program cannot be executed.
    """
    program: dict[str, Any] = json.loads(Path(program_file).read_text(encoding="utf-8"))
    lead_session()
    if nice := program.get("nice"):  # absent from the file of a program that was declared before it existed
        yield_to_others(nice)
    pid_file = Path(program["pid_file"])
    written = pid_file.with_name(f"{pid_file.name}.{os.getpid()}")
    written.write_text(json.dumps({"pid": os.getpid(), "started": started_ticks(os.getpid())}), encoding="ascii")
    written.replace(pid_file)
    os.umask(0o077)
    os.chdir(program["directory"])
    identity = program["identity"]
    if identity["kind"] == "user":
        become_user(identity["uid"], identity["gid"], identity["capabilities"])
    elif identity["kind"] == "namespace":
        enter_namespace(identity["uid"], identity["gid"])
    if program["parent_death_signal"]:  # after the change of user, which clears it
        with contextlib.suppress(OSError):  # it runs without, too
            signal_when_parent_ends(program["parent_death_signal"])
    command: list[str] = program["command"]
    os.execve(command[0], command, program["environment"])  # noqa: S606  # becoming the program is the purpose


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"launch {sys.argv[1:]}: {error}")
