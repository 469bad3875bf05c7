"""``algodock metrics``."""

from __future__ import annotations

from typing import Any

from algodock_cli.client.options import AsJson, Key, Name, Url, gateway, print_json, table

__all__ = ["command"]


def command(name: Name, *, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Tell what each instance of a service uses now: CPU in cores, memory, open files, processes."""
    with gateway(url, key) as platform:
        found = platform.get(f"/api/v1/services/metrics/{name}")
    if as_json:
        print_json(found)
        return
    heads = ("INSTANCE", "PORT", "PHASE", "CPU", "MEMORY MB", "FILES", "PROCESSES", "SINCE")
    table(heads, [_row(one) for one in found["instances"]])


def _row(one: dict[str, Any]) -> tuple[object, ...]:
    memory = one["memory_bytes"]
    return (
        one["instance_id"], one["port"], one["phase"], one["cpu"], None if memory is None else f"{memory / 1e6:.1f}",
        one["open_files"], one["processes"], str(one["started_at"] or "")[:19].replace("T", " "),
    )  # fmt: skip
