"""Model hubs by their documented URLs: what a repository holds at a revision, and where each file is fetched."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from algodock_deployer.domain.errors import ModelDamaged, ModelNotFound, ModelSourceAway
from algodock_deployer.domain.model_sources import HubModel, relative_path

if TYPE_CHECKING:
    from algodock_deployer.clients.downloads import Downloads

__all__ = ["HubFile", "Hubs", "modelscope_endpoint"]

HF: Final = "https://huggingface.co"
MODELSCOPE: Final = "www.modelscope.cn"
MOST_FILES: Final = 10_000
_SHA256 = re.compile(r"^[0-9a-f]{64}$")
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="next"')


@dataclass(frozen=True)
class HubFile:
    """One file: its path in the repository, where it is fetched, and what the hub says of it.

    ``identity`` names its content for good where the revision was found to be a commit.
    """

    path: str
    url: str
    identity: str
    sha256: str | None = None
    size: int | None = None


def modelscope_endpoint(domain: str) -> str:
    """Return ModelScope's base URL: its own tools take a host without a scheme (``MODELSCOPE_DOMAIN``)."""
    domain = (domain or MODELSCOPE).rstrip("/")
    return domain if "://" in domain else f"https://{domain}"


class Hubs:
    """Hugging Face's hub or a mirror of it (``HF_ENDPOINT``), and ModelScope's (``MODELSCOPE_DOMAIN``)."""

    def __init__(self, downloads: Downloads, *, hf: str = HF, modelscope: str = "") -> None:
        """Take the base URLs."""
        self._downloads = downloads
        self._hf, self._modelscope = hf.rstrip("/"), modelscope_endpoint(modelscope)

    async def files(self, model: HubModel) -> list[HubFile]:
        """Return the file that is meant, or every file of the repository.

        Raises:
            ReleaseFailure: there is no such repository, revision or file, or the hub is away.
        """
        if model.hub == "modelscope":
            return await self._of_modelscope(model)
        return [await self._hf_file(model)] if model.file else await self._hf_repository(model)

    async def _hf_file(self, model: HubModel) -> HubFile:
        """Ask for the file's headers: they carry its commit, size and, where it is a large one, its SHA-256."""
        headers = await self._downloads.head(self._hf_url(model, model.revision, model.file))
        commit = headers.get("x-repo-commit") or model.revision
        tag = headers.get("x-linked-etag", "").strip('W/"')
        size = headers.get("x-linked-size") or ("" if "location" in headers else headers.get("content-length", ""))
        return HubFile(
            model.file,
            self._hf_url(model, commit, model.file),
            f"hf:{model.repository}@{commit}/{model.file}" if "x-repo-commit" in headers else "",
            tag if _SHA256.match(tag) else None,
            int(size) if size.isdigit() else None,
        )

    async def _hf_repository(self, model: HubModel) -> list[HubFile]:
        revision = quote(model.revision, safe="")
        found, _ = await self._downloads.document(f"{self._hf}/api/models/{model.repository}/revision/{revision}")
        commit = found.get("sha") if isinstance(found, dict) else None
        if not isinstance(commit, str) or not commit.isalnum():
            raise ModelSourceAway(f"{self._hf} does not say at which commit {model.repository} is: is it a hub?")
        entries: list[Any] = []
        url = f"{self._hf}/api/models/{model.repository}/tree/{commit}?recursive=true"
        while url:
            page, headers = await self._downloads.document(url)
            entries += page if isinstance(page, list) else []
            further = _NEXT.search(headers.get("link", ""))
            # Only the hub itself is asked for more, whatever its answer names.
            url = further[1] if further and further[1].startswith(f"{self._hf}/") and len(entries) < MOST_FILES else ""
        files = []
        for entry in entries:
            if isinstance(entry, dict) and entry.get("type") == "file":
                path = _safe(entry.get("path"), model)
                lfs = entry.get("lfs") if isinstance(entry.get("lfs"), dict) else {}
                files.append(
                    HubFile(
                        path,
                        self._hf_url(model, commit, path),
                        f"hf:{model.repository}@{commit}/{path}",
                        _sha256(lfs.get("oid") if lfs else None),
                        _count((lfs or entry).get("size")),
                    )
                )
        return _some(files, model)

    def _hf_url(self, model: HubModel, revision: str, path: str) -> str:
        return f"{self._hf}/{model.repository}/resolve/{quote(revision, safe='')}/{quote(path)}"

    async def _of_modelscope(self, model: HubModel) -> list[HubFile]:
        base = f"{self._modelscope}/api/v1/models/{model.repository}/repo"
        listed, _ = await self._downloads.document(
            f"{base}/files?{urlencode({'Revision': model.revision, 'Recursive': 'true'})}"
        )
        data = listed.get("Data") if isinstance(listed, dict) else None
        entries = data.get("Files") if isinstance(data, dict) else None
        if not isinstance(entries, list):
            raise ModelNotFound(f"{self._modelscope} has no {model.repository} at {model.revision}")
        files = []
        for entry in entries:
            if not isinstance(entry, dict) or entry.get("Type") == "tree":
                continue
            path = _safe(entry.get("Path"), model)
            if model.file and path != model.file:
                continue
            revision = str(entry.get("Revision") or "")
            url = f"{base}?{urlencode({'Revision': model.revision, 'FilePath': path})}"
            identity = f"modelscope:{model.repository}@{revision}/{path}" if revision else ""
            files.append(HubFile(path, url, identity, _sha256(entry.get("Sha256")), _count(entry.get("Size"))))
        return _some(files, model)


def _safe(path: object, model: HubModel) -> str:
    """Check a path that a hub names: it becomes one on this machine."""
    try:
        return relative_path(str(path))
    except ValueError as error:
        raise ModelDamaged(f"{model.repository} names a file {path!r}, which would leave its folder") from error


def _some(files: list[HubFile], model: HubModel) -> list[HubFile]:
    if not files:
        what = model.file or "a file"
        raise ModelNotFound(f"{model.hub}://{model.repository}@{model.revision} has no {what}")
    if len(files) > MOST_FILES:
        raise ModelDamaged(f"{model.repository} has more than {MOST_FILES} files; name the ones that are wanted")
    return files


def _sha256(value: object) -> str | None:
    return value if isinstance(value, str) and _SHA256.match(value) else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
