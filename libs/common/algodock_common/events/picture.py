"""The README's picture, drawn from the flow table: ``python -m algodock_common.events.picture``."""

from __future__ import annotations

from algodock_common.events.flow import ANYBODY, FLOW

__all__ = ["mermaid"]

_SHOWN_ELSEWHERE = frozenset({"dead letter"})
"""Every service sends dead letters: as arrows they would hide the path."""


def mermaid() -> str:
    """Return the flow table as a Mermaid flowchart; an arrow is a topic, dotted where it is a broadcast."""
    lines = [
        "flowchart LR",
        '    client(["people and programs"])',
        '    forge(["git push · webhook"])',
        '    algorithm["instances of algorithms"]',
        "    forge --> gitea-sync",
        "    client --> gateway",
        "    gateway -- /ai/name/predict --> algorithm",
        "    worker -- predict --> algorithm",
        "    worker -- result --> store[(object store)]",
        "    runner -- signed callback --> client",
    ]
    for step in FLOW:
        if step.name in _SHOWN_ELSEWHERE:
            continue
        for producer in step.producers:
            source = "client" if producer == ANYBODY else producer
            lines += [f"    {source} == {step.topic} ==> {group}" for group in step.groups]
            lines += [f"    {source} -. {step.topic} .-> {router}" for router in step.broadcasts if router != producer]
    return "\n".join(lines)


if __name__ == "__main__":
    print(mermaid())  # noqa: T201  # that is what it is run for
