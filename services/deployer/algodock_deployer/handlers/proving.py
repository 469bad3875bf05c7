"""The promotion gate: a new release answers its repository's samples before it gets any traffic."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, NoReturn

from algodock_deployer.clients.samples import read_samples, with_files
from algodock_deployer.domain.errors import ProgramFailed, SampleFailed
from algodock_deployer.domain.samples import Sample, judge, sample_of
from algodock_deployer.handlers.last_words import last_words
from algodock_deployer.handlers.probing import PROBE_EVERY_S, must_run
from algodock_deployer.handlers.starting import abandon

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from algodock_deployer.domain.releases import Instance
    from algodock_deployer.handlers.building import Prepared
    from algodock_deployer.handlers.context import Context
    from algodock_deployer.handlers.progress import Progress

__all__ = ["pass_gate", "prove"]

EXIT_S = 1.0
"""How long a broken connection may come before its program's exit is seen."""


async def pass_gate(context: Context, progress: Progress, prepared: Prepared, instances: Sequence[Instance]) -> None:
    """Prove that the new release does its work; when it does not, nothing of it is left."""
    try:
        await prove(context, progress, prepared, instances[0])
    except BaseException:
        await asyncio.shield(abandon(context, instances))
        raise


async def prove(context: Context, progress: Progress, prepared: Prepared, instance: Instance) -> None:
    """Run the samples of a release that was never live, one after another, against its first instance.

    What was live before has passed, and a restart or a rollback is not kept waiting.

    Raises:
        SampleFailed: one is not answered as it should be; the release before goes on serving.
    """
    bound_s, code = context.tuning.samples_s, context.folders.code(instance.algorithm, instance.release_id)
    if not progress.moves or bound_s <= 0:
        return
    found, files = await asyncio.to_thread(read_samples, code, code / prepared.plan.manifest.samples)
    if not found:
        return
    async with progress.step("samples", "checking"):
        if prepared.plan.manifest.protocol == "grpc":
            progress.note(f"{len(found)} shown, none is run: samples are calls over HTTP")
            return
        samples = await asyncio.to_thread(_checked, found, files)
        pid = await must_run(context, instance, 0)
        openapi = await _openapi(context, instance)
        clock = asyncio.get_running_loop()
        begun, done = clock.time(), 0
        for sample in samples:
            if clock.time() - begun > bound_s:
                break
            await _run(context, sample, instance, pid, openapi, prepared.plan.manifest.timeout)
            done += 1
        passed = f"{done} of {len(samples)} passed"
        progress.note(passed if done == len(samples) else f"{passed}, the others were not run: {bound_s:g} s were over")


def _checked(found: list[tuple[str, dict[str, Any]]], files: dict[str, Path]) -> list[Sample]:
    samples = [sample_of(file, one | {"input": with_files(file, one["input"], files)}) for file, one in found]
    return [one for one in samples if one.check]


async def _openapi(context: Context, instance: Instance) -> Any:
    """Return the program's own description of its answers; None where it gives none."""
    found = await context.prober.document(f"{instance.base_url}/openapi.json")
    if found is None:
        return None
    try:
        return json.loads(found[0])
    except (ValueError, RecursionError):
        return None  # a program's broken documents are its readers' concern; its answers are looked at all the same


async def _run(context: Context, sample: Sample, instance: Instance, pid: int, openapi: Any, timeout_s: float) -> None:
    """Run one sample; one that is too slow has a second try, because the first call may have loaded a model."""
    body = json.dumps(sample.input, ensure_ascii=False).encode()
    for again in (False, True):
        reply = await context.prober.predict(instance.base_url, body, timeout_s=timeout_s)
        if isinstance(reply, str):
            await _say_why(context, sample, instance, pid, reply)
        elif again or sample.max_ms is None or reply.took_ms <= sample.max_ms:
            await asyncio.to_thread(judge, sample, reply, openapi)
            return


async def _say_why(context: Context, sample: Sample, instance: Instance, pid: int, reply: str) -> NoReturn:
    """Fail with what the program said when it died of the sample, or with what it wrote last."""
    end = asyncio.get_running_loop().time() + EXIT_S
    while asyncio.get_running_loop().time() < end:
        try:
            await must_run(context, instance, pid)
        except ProgramFailed as error:
            raise SampleFailed(f"{sample.file}: {error.detail}") from error
        await asyncio.sleep(PROBE_EVERY_S)
    wrote = last_words(context, instance)
    raise SampleFailed(f"{sample.file}: {reply}" + (f"\n{wrote}" if wrote else ""))
