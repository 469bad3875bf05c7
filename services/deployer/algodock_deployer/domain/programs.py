"""The files that start an instance: its program's section for supervisord, its start script, the generated config.

``start.sh`` is what supervisord runs, and nothing else: by hand it does the same. It empties its
environment before it sets what the program may see, so that nothing of the platform leaks in.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = [
    "GROUP",
    "HANDED_OVER",
    "PATH",
    "ControlGroup",
    "Limits",
    "ProgramSpec",
    "as_user",
    "common_module",
    "full_name",
    "group_section",
    "handed_over",
    "ports_module",
    "program_name",
    "program_section",
    "secrets_file",
    "socket_path",
    "start_script",
    "supervisord_config",
]

GROUP = "ai-services"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where only root writes: whatever runs before the user is changed is found here and nowhere else."""

HANDED_OVER = "ALGODOCK_ENVIRONMENT"
LOG_BYTES = "10MB"
LOG_BACKUPS = 5
OPEN_FILES = 8192
SHARED_BY = 4  # a service's user has several instances, and two releases during a switch
SOCKET_NAME = 90  # of some 107 bytes: supervisord binds to a longer name first


def program_name(algorithm: str, index: int, release_id: UUID) -> str:
    """Return ``ai-<name>-<n>-<release>``; the release is the last group of its id."""
    return f"ai-{algorithm}-{index}-{str(release_id)[-12:]}"


def full_name(program: str) -> str:
    """Return the program's name with its group, as ``supervisorctl`` wants it."""
    return f"{GROUP}:{program}"


@dataclass(frozen=True)
class Limits:
    """What an instance is held to; ``memory`` and ``file_size`` in bytes, ``processes`` with their threads.

    ``cpu`` (cores) is a container's.

    Memory is never limited by RLIMIT_AS or RLIMIT_DATA: both break what reserves much and uses little (Node.js, CUDA).
    """

    memory: int | None = None
    processes: int | None = None
    file_size: int | None = None
    open_files: int = OPEN_FILES
    cpu: float | None = None


@dataclass(frozen=True)
class ControlGroup:
    """A folder of the kernel's control groups, and what is written to its files before a program enters it."""

    folder: Path
    settings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ProgramSpec:
    """One instance as its process manager needs it.

    ``uid`` is set where it runs as somebody else; ``mode`` names the driver, the system's when empty.
    ``image``, ``port``, ``mounts`` (read-only) and ``devices`` (GPUs by UUID) are a container's;
    its ``argv`` may be the image's own. ``secrets`` is a file of further variables that only the platform reads.
    """

    program: str
    argv: tuple[str, ...]
    folder: Path
    script: Path
    pid_file: Path
    stdout: Path
    stderr: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    uid: int | None = None
    limits: Limits = field(default_factory=Limits)
    groups: tuple[ControlGroup, ...] = ()
    mode: str = ""
    image: str = ""
    port: int = 0
    mounts: tuple[Path, ...] = ()
    devices: tuple[str, ...] = ()
    secrets: Path | None = None


def as_user(uid: int, processes: int | None = None) -> list[str]:
    """Return what goes before a command so that it runs as ``uid`` and can never be more.

    ``processes`` is how many the user may have in all, threads among them; without own user it would count others'.
    """
    limit = ["prlimit", f"--nproc={processes}"] if processes else []
    return [*limit, "setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs"]


def handed_over(
    environment: Mapping[str, str], argv: Iterable[str], uid: int, processes: int | None = None
) -> tuple[str, list[str]]:
    """Return the value of ``HANDED_OVER`` and an argv that becomes ``uid``, and only then takes the environment.

    What a stranger declares (``LD_AUDIT``, ``GLIBC_TUNABLES``, a ``PATH`` into an environment that it filled) would
    otherwise work on the tools that change the user, and those run as root. It goes through a variable that means
    nothing to them, not through an argument: arguments can be read by everybody.
    """
    taken = _exports(environment)
    become = f'eval "${HANDED_OVER}"; unset {HANDED_OVER} PWD OLDPWD; exec "$@"'
    return "\n".join(taken), [*as_user(uid, processes), "/bin/sh", "-c", become, "sh", *argv]


def secrets_file(values: Mapping[str, str]) -> str:
    """Return the content of an instance's file of secrets."""
    return "\n".join(_exports(values)) + "\n"


def _exports(environment: Mapping[str, str]) -> list[str]:
    return [f"export {name}={shlex.quote(value)}" for name, value in sorted(environment.items())]


def start_script(spec: ProgramSpec) -> str:
    """Return the ``start.sh`` of an instance (for ``/bin/sh``)."""
    pid_file = shlex.quote(str(spec.pid_file))
    lines = [
        "#!/bin/sh",
        "# Written by AlgoDock. supervisord runs exactly this; by hand it does the same.",
        '[ "$1" = clean ] || exec env -i /bin/sh "$0" clean',
        f"PATH={PATH}",
        f"cd {shlex.quote(str(spec.folder))} || exit 127",
        *_enter(spec.groups, pid_file),
        f"echo $$ > {pid_file}",
        "ulimit -c 0",
        f"ulimit -n {spec.limits.open_files} 2>/dev/null || :",
    ]
    if spec.limits.file_size:
        lines.append(f"ulimit -f {spec.limits.file_size // 512}")
    lines.append("umask 022")
    further = f'"$(cat {shlex.quote(str(spec.secrets))} 2>/dev/null)"' if spec.secrets else '""'
    if spec.uid is None:
        lines += [*_exports(spec.environment), f"eval {further}", "unset PWD OLDPWD", f"exec {shlex.join(spec.argv)}"]
    else:
        processes = spec.limits.processes and spec.limits.processes * SHARED_BY
        environment, argv = handed_over(spec.environment, spec.argv, spec.uid, processes)
        lines += [f"export {HANDED_OVER}={shlex.quote(environment + chr(10))}{further}", f"exec {shlex.join(argv)}"]
    return "\n".join(lines) + "\n"


def _enter(groups: Iterable[ControlGroup], pid_file: str) -> Iterator[str]:
    """Yield the lines that bring the script into its control groups; where there are none any more it goes on.

    What an earlier run left in the group, a daemon for example, is ended first, unless that run is still going on.
    """
    for group in groups:
        folder = shlex.quote(str(group.folder))
        yield f"if mkdir -p {folder} 2>/dev/null && [ -w {folder}/cgroup.procs ]; then"
        yield f'  kill -0 "$(cat {pid_file} 2>/dev/null)" 2>/dev/null ||'
        yield f'    while read -r left; do kill -9 "$left"; done < {folder}/cgroup.procs 2>/dev/null'
        for name, value in group.settings:
            yield f"  [ ! -e {folder}/{name} ] || echo {value} > {folder}/{name} 2>/dev/null"
        yield f"  echo $$ > {folder}/cgroup.procs"
        yield "fi"


def program_section(spec: ProgramSpec) -> str:
    """Return the program's section of supervisord's configuration."""
    return (
        f"[program:{spec.program}]\n"
        f"command=/bin/sh {_ini(shlex.quote(str(spec.script)))}\n"
        f"directory={_ini(str(spec.folder))}\n"
        "autostart=true\n"
        "autorestart=true\n"
        "startretries=3\n"
        "startsecs=1\n"
        "stopwaitsecs=10\n"
        "stopasgroup=true\n"
        "killasgroup=true\n"
        f"stdout_logfile={_ini(str(spec.stdout))}\n"
        f"stdout_logfile_maxbytes={LOG_BYTES}\n"
        f"stdout_logfile_backups={LOG_BACKUPS}\n"
        f"stderr_logfile={_ini(str(spec.stderr))}\n"
        f"stderr_logfile_maxbytes={LOG_BYTES}\n"
        f"stderr_logfile_backups={LOG_BACKUPS}\n"
    )


def group_section(programs: Iterable[str]) -> str:
    """Return the section of the one group that all programs belong to."""
    return f"[group:{GROUP}]\nprograms={','.join(sorted(programs))}\n"


def socket_path(folder: Path) -> Path:
    """Return where supervisord listens: in its folder, or in a short one where that is too long for a socket."""
    path = folder / "supervisord.sock"
    if len(str(path)) <= SOCKET_NAME:
        return path
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"algodock-{os.geteuid()}-{digest}" / "supervisord.sock"


def supervisord_config(*, folder: Path, programs: Path, log: Path, extension: str) -> str:
    """Return the configuration of the algorithms' supervisord.

    ``extension`` is the factory of the RPC interface that changes the group while it runs.
    """
    socket = _ini(str(socket_path(folder)))
    return (
        "; Written by AlgoDock: the supervisord of the algorithms' programs.\n"
        f"[unix_http_server]\nfile={socket}\nchmod=0700\n\n"
        f"[supervisord]\npidfile={_ini(str(folder / 'supervisord.pid'))}\n"
        f"logfile={_ini(str(log))}\nlogfile_maxbytes={LOG_BYTES}\nlogfile_backups={LOG_BACKUPS}\n"
        "identifier=algodock\nminfds=1024\nminprocs=200\nnocleanup=true\numask=077\n\n"
        "[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\n"
        f"[rpcinterface:algodock]\nsupervisor.rpcinterface_factory={extension}\n\n"
        f"[supervisorctl]\nserverurl=unix://{socket}\n\n"
        f"[include]\nfiles={_ini(str(programs / '*.ini'))}\n"
    )


def ports_module(ports: Mapping[str, int]) -> str:
    """Return ``config/ports.py``: the port of every service that runs here."""
    rows = "".join(f"    {name!r}: {port},\n" for name, port in sorted(ports.items()))
    return (
        '"""Written by AlgoDock: the ports of the services on this machine."""\n\n'
        f"PORTS = {{\n{rows}}}\n\n\n"
        "def get_port(name):\n"
        '    """Return the port of the service ``name``; KeyError when it does not run here."""\n'
        "    return PORTS[name]\n"
    )


def common_module(root: Path) -> str:
    """Return ``config/common.py``: folders, and what the platform told this process."""
    return (
        '"""Written by AlgoDock: what programs in the standard layout import."""\n\n'
        "import os\n\n"
        f"SERVICE_ROOT = {str(root)!r}\n"
        f"LOG_DIR = {str(root / 'logs')!r}\n"
        'NAME = os.environ.get("ALGODOCK_NAME", "")\n'
        'HOST = os.environ.get("HOST", "127.0.0.1")\n'
        'PORT = int(os.environ.get("PORT", "0"))\n'
    )


def _ini(value: str) -> str:
    """Escape what supervisord would expand, and refuse what would end the line."""
    if "\n" in value or "\r" in value or ";" in value:
        msg = f"{value!r} cannot stand in supervisord's configuration"
        raise ValueError(msg)
    return value.replace("%", "%%")
