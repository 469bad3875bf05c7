"""Run by git when a push was taken: posts the signed webhook, then shows the deploy on the pusher's ``remote:`` lines.

Plain sockets and few imports, because each costs every push some milliseconds. It never fails the push:
whatever is down, the commit is in the repository, and gitea-sync looks for itself.
"""

import hashlib
import hmac
import json
import os
import socket
import sys
import time
from datetime import datetime

_POLL_S = 0.1
_HTTP_TIMEOUT_S = 10.0
_MAX_REFS = 20
_CLOCKS_APART_S = 5.0
_DONE = {"canary", "live", "failed", "superseded", "kept", "draining"}
_OK = 300


class PlatformDown(Exception):
    """The other side cannot be reached, or does not speak HTTP."""


def request(method: str, url: str, headers: dict[str, str], body: bytes = b"") -> tuple[int, dict]:  # type: ignore[type-arg]  # JSON
    """Make one HTTP/1.0 request to a service of the platform; return status and JSON (empty when it is none).

    Raises:
        PlatformDown: no connection, no answer in time, or no HTTP.
    """
    address, _, path = url.removeprefix("http://").partition("/")
    host, _, port = address.rpartition(":")
    lines = [f"{method} /{path} HTTP/1.0", f"host: {address}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_HTTP_TIMEOUT_S) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        head, _, content = answer.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
    except (OSError, ValueError, IndexError) as error:
        raise PlatformDown(str(error)) from error
    try:
        document = json.loads(content)
    except ValueError:
        document = {}
    return status, document if isinstance(document, dict) else {}


def say(text: str) -> None:
    """Show one line to the pusher, at once."""
    print(f"AlgoDock: {text}", flush=True)  # noqa: T201  # what is printed here becomes the `remote:` lines


def tell(env: dict[str, str], old: str, new: str, ref: str) -> dict:  # type: ignore[type-arg]  # JSON
    """Post the webhook for one changed ref; return what became of it.

    Raises:
        PlatformDown: nobody took it.
    """
    push = {
        "ref": ref,
        "before": old,
        "after": new,
        "repository": {"full_name": env["ALGODOCK_HOOK_REPOSITORY"]},
        "pusher": {"login": env["ALGODOCK_HOOK_PUSHER"]},
    }
    body = json.dumps(push).encode()
    signature = hmac.new(env["ALGODOCK_HOOK_SECRET"].encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "content-type": "application/json",
        "x-algodock-event": "push",
        "x-algodock-delivery": f"{ref} {new}"[:255],
        "x-algodock-signature": signature,
    }
    status, answer = request("POST", env["ALGODOCK_HOOK_WEBHOOK"], headers, body)
    if status >= _OK:
        raise PlatformDown(answer.get("detail") or f"it answered {status}")
    return answer


def follow(env: dict[str, str], commit: str, since: float) -> None:
    """Show the steps of the release of ``commit`` until it is live, has failed, or the time is over."""
    until = time.monotonic() + float(env["ALGODOCK_HOOK_WAIT_S"])
    headers = {"authorization": f"Bearer {env['ALGODOCK_HOOK_TOKEN']}"}
    shown: set[str] = set()
    trouble = ""
    while time.monotonic() < until:
        try:
            status, answer = request("GET", f"{env['ALGODOCK_HOOK_RELEASES']}?commit={commit}", headers)
            trouble = f"it answered {status}" if status >= 500 else ""  # noqa: PLR2004  # the service's own fault
        except PlatformDown as error:
            answer, trouble = {}, str(error)
        release = newest(answer, since)
        for step in release.get("steps") or []:
            if step.get("ended_at") and step["name"] not in shown:
                shown.add(step["name"])
                say(f"  {step['name']}{took(step)}{detail(step)}")
        state = release.get("state")
        if state in _DONE:
            end(env, release, str(state), time.time() - since)
            return
        time.sleep(_POLL_S)
    if trouble:
        say(f"the deployer cannot be asked ({trouble}); it takes the commit up when it is back.")
    else:
        say("still at work; this push does not wait any longer.")
    say(f"look at {env['ALGODOCK_HOOK_LOOK']}")


def newest(answer: dict, since: float) -> dict:  # type: ignore[type-arg]  # JSON
    """Return the release that this push led to: a branch forced back has releases of the same commit from before."""
    for release in answer.get("releases") or []:
        if (
            release.get("state") in {"live", "canary"}
            or instant(release.get("created_at") or "") > since - _CLOCKS_APART_S
        ):
            return dict(release)
    return {}


def end(env: dict[str, str], release: dict, state: str, seconds: float) -> None:  # type: ignore[type-arg]  # JSON
    """Say how the release ended."""
    if state in {"live", "draining", "kept"}:
        say(f"live after {seconds:.1f} s: {env['ALGODOCK_HOOK_URL']}")
    elif state == "canary":
        say(f"a canary after {seconds:.1f} s, with some of the calls: {env['ALGODOCK_HOOK_URL']}")
        say("`algodock promote` makes it live, `algodock rollback` ends it.")
    elif state == "superseded":
        say("superseded by a newer commit.")
    else:
        say(f"FAILED: {release.get('reason') or 'no reason was given'}")
        say(f"what served before still serves; the whole output: {env['ALGODOCK_HOOK_LOOK']}")


def took(step: dict) -> str:  # type: ignore[type-arg]  # JSON
    """Return the step's duration as ``  1.2 s``."""
    began, ended = instant(step.get("started_at") or ""), instant(step["ended_at"])
    return f"  {ended - began:.1f} s" if began and ended else ""


def instant(text: str) -> float:
    """Return an ISO 8601 time as Unix seconds; 0 when it is none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def detail(step: dict) -> str:  # type: ignore[type-arg]  # JSON
    """Return the step's detail on the same line."""
    text = str(step.get("detail") or "").replace("\n", " ").strip()
    return f"  {text[:200]}" if text else ""


def main() -> None:
    """Go through the changed refs, as git gives them on standard input: old, new, name."""
    env = dict(os.environ)
    if "ALGODOCK_HOOK_WEBHOOK" not in env:
        return  # changed by the platform itself, which looks for itself
    since = time.time()
    for line in sys.stdin.read().splitlines()[:_MAX_REFS]:
        old, new, ref = line.split(" ", 2)
        try:
            answer = tell(env, old, new, ref)
        except PlatformDown as error:
            say(f"the push is taken, but the platform cannot be told now ({error}).")
            say(f"it looks for itself within {env['ALGODOCK_HOOK_POLL_S']} s; then see {env['ALGODOCK_HOOK_LOOK']}")
            continue
        outcome, commit = answer.get("outcome"), str(answer.get("commit") or "")
        # "unchanged" and the pushed commit: the poller was quicker than this hook
        if outcome in {"pushed", "received"} or (outcome == "unchanged" and commit == new):
            say(f"deploying {commit[:10]} of {answer.get('branch')} as {answer.get('algorithm')}")
            follow(env, commit, since)
        else:
            say(str(answer.get("detail") or outcome))


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # noqa: BLE001  # a hook's own fault must not look like a failed push
        say(f"the push is taken; showing its deploy failed: {error!r}")
