"""An RPC interface inside the algorithms' supervisord: one program comes to its group, or goes, while the others run.

supervisord itself can only replace a whole group, which stops every program in it. This is loaded
by supervisord (``[rpcinterface:algodock]``), runs in its process and imports nothing of the platform.
"""

from __future__ import annotations

from typing import Any

from supervisor.options import split_namespec
from supervisor.states import RUNNING_STATES, STOPPED_STATES, getProcessStateDescription
from supervisor.xmlrpc import Faults, RPCError

__all__ = ["ProgramsInterface", "make_interface"]


class ProgramsInterface:
    """``algodock.add``, ``algodock.remove``, ``algodock.look`` and ``algodock.all``."""

    def __init__(self, supervisord: Any) -> None:
        """Keep the running supervisord."""
        self._supervisord = supervisord

    def add(self, namespec: str) -> dict[str, Any]:
        """Read the configuration again and start one program of a group, whether it is new or stopped.

        @param string namespec    group:program
        @return struct result     what look returns
        """
        group_name, program = split_namespec(namespec)
        group = self._group(group_name)
        if program not in group.processes:
            try:
                self._supervisord.options.process_config(do_usage=False)
            except ValueError as error:
                raise RPCError(Faults.CANT_REREAD, str(error)) from error
            config = self._configured(group_name, program)
            config.create_autochildlogs()
            group.processes[program] = config.make_process(group)
            group.config.process_configs = sorted([*group.config.process_configs, config])
        process = group.processes[program]
        if process.get_state() not in RUNNING_STATES:
            process.spawn()
        return self._seen(process)

    def remove(self, namespec: str) -> bool:
        """Forget one stopped program; whether it was known.

        @param string namespec    group:program
        @return boolean result    whether it was there
        """
        group_name, program = split_namespec(namespec)
        group = self._group(group_name)
        self._supervisord.reap()
        process = group.processes.get(program)
        if process is None:
            return False
        if process.get_state() not in STOPPED_STATES:
            raise RPCError(Faults.STILL_RUNNING, namespec)
        del group.processes[program]
        group.config.process_configs = [c for c in group.config.process_configs if c.name != program]
        return True

    def look(self, namespec: str) -> dict[str, Any]:
        """Return the state of one program as it is now, its last exit taken in.

        @param string namespec    group:program
        @return struct result     name, state, pid, exitstatus, spawnerr, started_at
        """
        group_name, program = split_namespec(namespec)
        self._supervisord.reap()
        process = self._group(group_name).processes.get(program)
        if process is None:
            raise RPCError(Faults.BAD_NAME, namespec)
        return self._seen(process)

    def all(self, group_name: str) -> list[dict[str, Any]]:
        """Return the state of every program of a group.

        @param string group_name  the group
        @return array result      structs as look returns them
        """
        self._supervisord.reap()
        return [self._seen(process) for process in self._group(group_name).processes.values()]

    def _group(self, name: str) -> Any:
        group = self._supervisord.process_groups.get(name)
        if group is None:
            raise RPCError(Faults.BAD_NAME, name)
        return group

    def _configured(self, group_name: str, program: str) -> Any:
        for group in self._supervisord.options.process_group_configs:
            if group.name == group_name:
                for config in group.process_configs:
                    if config.name == program:
                        return config
        raise RPCError(Faults.BAD_NAME, f"{group_name}:{program}")

    @staticmethod
    def _seen(process: Any) -> dict[str, Any]:
        return {
            "name": process.config.name,
            "state": getProcessStateDescription(process.get_state()),
            "pid": process.pid,
            "exitstatus": -1 if process.exitstatus is None else process.exitstatus,
            "spawnerr": process.spawnerr or "",
            "started_at": float(process.laststart),
        }


def make_interface(supervisord: Any, **_settings: Any) -> ProgramsInterface:
    """Return the interface; the configuration file names this function."""
    return ProgramsInterface(supervisord)
