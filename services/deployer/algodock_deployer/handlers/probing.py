"""Probing: until an instance answers as healthy, exits, or listens elsewhere than it must."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from algodock_deployer.domain.errors import PortLost, ProgramFailed
from algodock_deployer.handlers.last_words import last_words
from algodock_deployer.handlers.progress import patiently

if TYPE_CHECKING:
    from algodock_deployer.domain.manifest import Manifest
    from algodock_deployer.domain.releases import Instance
    from algodock_deployer.handlers.context import Context

__all__ = ["PROBE_EVERY_S", "must_run", "wait_healthy"]

PROBE_EVERY_S = 0.05
LOOK_EVERY_S = 0.5
ELSEWHERE_GRACE_S = 5.0
REFUSED_GRACE_S = 15.0


async def wait_healthy(context: Context, instance: Instance, manifest: Manifest) -> None:
    """Probe until the instance answers as healthy; notice at once when it exits.

    Raises:
        ProgramFailed: it exited, never became healthy, or listens on another port.
        PortLost: another program answers on its port.
    """
    clock = asyncio.get_running_loop()
    begun, question = clock.time(), manifest.health_question
    looked_at = refused_since = 0.0
    pid = 0
    while True:
        now = clock.time()
        if now - looked_at >= LOOK_EVERY_S or (pid and not _exists(pid)):
            pid, looked_at = await must_run(context, instance, pid), now
        answer = await context.prober.ask(f"{instance.base_url}{manifest.health_path}")
        if answer.healthy and await _is_its_own(context, instance, pid):
            await must_run(context, instance, pid)
            return
        if answer.healthy and manifest.port is None:
            await _not_anothers(context, instance)
        refused_since = (refused_since or now) if answer.missing else 0.0
        if refused_since and now - refused_since > REFUSED_GRACE_S:
            what = "such a route" if manifest.protocol == "http" else "that service"
            raise ProgramFailed(f"{question}: {answer.said}; the program needs {what}, or `health:` another")
        if now - begun > ELSEWHERE_GRACE_S and answer.status is None:
            await _not_elsewhere(context, instance, pid)
        if now - begun > context.tuning.start_timeout_s:
            wrote = last_words(context, instance)
            raise ProgramFailed(
                f"not healthy within {context.tuning.start_timeout_s:.0f} s: {question}: {answer.said}"
                + (f"\n{wrote}" if wrote else "")
            )
        await asyncio.sleep(PROBE_EVERY_S)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


async def must_run(context: Context, instance: Instance, pid: int) -> int:
    """Return the program's process id.

    Raises:
        ProgramFailed: it has exited, with the error that it wrote last.
    """
    seen = await patiently(lambda: context.processes.look(instance.program), within_s=context.tuning.patience_s)
    if seen is not None and seen.alive and pid in {0, seen.pid}:
        return seen.pid
    code = f" with code {seen.exit_code}" if seen is not None and seen.exit_code is not None else ""
    wrote = last_words(context, instance)
    raise ProgramFailed(
        f"the program exited{code}: {wrote}" if wrote else f"the program exited{code} and wrote nothing"
    )


async def _is_its_own(context: Context, instance: Instance, pid: int) -> bool:
    """Return whether the port that answered is the instance's, and not another program's that came first."""
    listeners = await context.prober.listeners(pid)
    return listeners is None or any(listener.port == instance.port for listener in listeners)


async def _not_anothers(context: Context, instance: Instance) -> None:
    """See who answers in the instance's place: what it started itself, and lost sight of, carries its token."""
    token = context.folders.token(instance.algorithm, instance.release_id, instance.program).read_text("ascii")
    holder = await context.prober.holder(instance.host, instance.port, token=token)
    if holder:
        raise PortLost(f"{holder} answers on {instance.host}:{instance.port}, not the program")


async def _not_elsewhere(context: Context, instance: Instance, pid: int) -> None:
    listeners = await context.prober.listeners(pid)
    if listeners and all(listener.port != instance.port for listener in listeners):
        bound = ", ".join(f"{listener.host}:{listener.port}" for listener in listeners)
        raise ProgramFailed(
            f"the program listens on {bound}, not on {instance.host}:{instance.port}; it must take $HOST and $PORT"
        )
