"""The program that git runs after a push; nothing in it is imported by the service."""

from __future__ import annotations

from pathlib import Path

__all__ = ["HOOK_PROGRAM"]

HOOK_PROGRAM = Path(__file__).with_name("post_receive.py")
