"""One client of the peer: ``client.py COUNT`` submits, waits for every result in the store, prints one line of JSON."""

from __future__ import annotations

import json
import os
import sys
import time

import redis
from noop_app import noop

WARM_UP = 50
LOOK_EVERY_S = 0.1
LONGEST_S = 180.0
BATCH = 1000


def main(count: int) -> None:
    """Measure from the first submission to the last result."""
    store = redis.Redis.from_url(f"{os.environ['PEER_REDIS']}/1")
    for _ in range(WARM_UP):
        noop.delay({"n": 1}).get(timeout=60)
    began = time.perf_counter()
    keys = [f"celery-task-meta-{noop.delay({'n': number}).id}" for number in range(count)]
    submitted = time.perf_counter()
    stored = 0
    while stored < count and time.perf_counter() - began < LONGEST_S:
        stored = sum(int(store.exists(*keys[at : at + BATCH])) for at in range(0, count, BATCH))
        time.sleep(LOOK_EVERY_S)
    ended = time.perf_counter()
    print(json.dumps({"stored": stored, "tasks_per_s": stored / (ended - began), "submit_s": submitted - began}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
