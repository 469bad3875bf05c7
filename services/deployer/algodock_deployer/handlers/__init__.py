"""The deployer's use cases; each takes what it stands on as its first argument."""

from algodock_deployer.handlers.canary import ask_canary
from algodock_deployer.handlers.cleaning import clean
from algodock_deployer.handlers.commands import take_algorithm, take_command, take_instance
from algodock_deployer.handlers.context import Context, Tuning
from algodock_deployer.handlers.groups import all_groups, change_group, drop_group, find_group, make_group
from algodock_deployer.handlers.loads import scale_by_rule, take_load
from algodock_deployer.handlers.logs import find_lines, note_log_times
from algodock_deployer.handlers.pushes import take_push
from algodock_deployer.handlers.reading import (
    ReleaseView,
    ServiceView,
    build_log,
    find_operations,
    find_release,
    find_service,
    find_services,
    releases_of,
    timeline_of,
)
from algodock_deployer.handlers.reconciling import begin, reconcile
from algodock_deployer.handlers.secrets import put_secret, remove_secret, secrets_of
from algodock_deployer.handlers.tailing import BuildEnd, BuildLine, follow_build, follow_build_lines, follow_logs
from algodock_deployer.handlers.turns import take_turn
from algodock_deployer.handlers.usage import usage_of
from algodock_deployer.handlers.waking import wake
from algodock_deployer.handlers.watching import watch_health
from algodock_deployer.handlers.withdrawing import withdraw_failing

__all__ = [
    "BuildEnd",
    "BuildLine",
    "Context",
    "ReleaseView",
    "ServiceView",
    "Tuning",
    "all_groups",
    "ask_canary",
    "begin",
    "build_log",
    "change_group",
    "clean",
    "drop_group",
    "find_group",
    "find_lines",
    "find_operations",
    "find_release",
    "find_service",
    "find_services",
    "follow_build",
    "follow_build_lines",
    "follow_logs",
    "make_group",
    "note_log_times",
    "put_secret",
    "reconcile",
    "releases_of",
    "remove_secret",
    "scale_by_rule",
    "secrets_of",
    "take_algorithm",
    "take_command",
    "take_instance",
    "take_load",
    "take_push",
    "take_turn",
    "timeline_of",
    "usage_of",
    "wake",
    "watch_health",
    "withdraw_failing",
]
