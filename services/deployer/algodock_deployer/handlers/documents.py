"""What people see of a live release beside its answers: its schema and its samples, in the object store."""

from __future__ import annotations

import asyncio
import json
import mimetypes
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from algodock_common.errors import AlgoDockError
from algodock_deployer.clients.samples import read_samples
from algodock_deployer.domain.releases import changed
from algodock_deployer.repository import Instances, Releases, Services

if TYPE_CHECKING:
    from algodock_deployer.domain.plan import Plan
    from algodock_deployer.handlers.context import Context

__all__ = ["publish_documents"]

log = structlog.get_logger()

SCHEMA_PATHS = ("/openapi.json", "/info")
JSON = "application/json"


async def publish_documents(context: Context, service_id: UUID, release_id: UUID, plan: Plan) -> None:
    """Store the running release's schema and its repository's samples, and tell where they are.

    What goes wrong here is a line in the log: the release serves without it.
    """
    try:
        async with context.database.read() as session:
            instances = [
                one for one in await Instances(session).of_service(service_id)
                if one.release_id == release_id and one.phase == "serving"
            ]  # fmt: skip
        if not instances:
            return
        schema_key = None
        if plan.manifest.protocol == "http":
            schema_key = await _store_schema(context, instances[0].base_url, release_id)
        folder = context.folders.code(instances[0].algorithm, release_id)
        samples_key = await _store_samples(context, folder, plan.manifest.samples, release_id)
    except AlgoDockError as error:
        log.warning("documents_not_stored", release=str(release_id), error=error.detail)
        return
    if schema_key is None and samples_key is None:
        return
    async with context.database.transaction() as tx:
        service = await Services(tx.session).locked(service_id)
        release = await Releases(tx.session).update(release_id, schema_key=schema_key, samples_key=samples_key)
        if service is not None and service.serving and service.live_release_id == release_id:
            serving = [one.id for one in await Instances(tx.session).of_service(service_id) if one.phase == "serving"]
            if serving:  # else it went to sleep meanwhile, and is told of when it wakes
                tx.emit(changed(service, release, instances=serving, limits=plan.manifest.limits()))


async def _store_schema(context: Context, base_url: str, release_id: UUID) -> str | None:
    for path in SCHEMA_PATHS:
        found = await context.prober.document(f"{base_url}{path}")
        if found is not None:
            key = f"schemas/{release_id}.json"
            await context.store.put(key, found[0], JSON)
            return key
    return None


async def _store_samples(context: Context, code: Path, samples: str, release_id: UUID) -> str | None:
    """Store the samples' files and, last, the list of them; return the list's key."""
    found, files = await asyncio.to_thread(read_samples, code, code / samples)
    if not found:
        return None
    base = f"samples/{release_id}"
    for name, path in files.items():
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        await context.store.put_file(f"{base}/files/{name}", path, kind)
    key = f"{base}/samples.json"
    listed = [{"title": Path(file).stem, **one} for file, one in found]
    document = {"samples": listed, "files": {name: f"{base}/files/{name}" for name in files}}
    await context.store.put(key, json.dumps(document, ensure_ascii=False).encode(), JSON)
    return key
