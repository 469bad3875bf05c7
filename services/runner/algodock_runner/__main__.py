"""``python -m algodock_runner [worker]``."""

from __future__ import annotations

import argparse

from algodock_common.startup import quick_imports

with quick_imports():
    from algodock_runner.main import main

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="algodock_runner", description="Accepts tasks (api) or runs them (worker).")
    parser.add_argument("process", nargs="?", choices=("api", "worker"), default="api")
    main(parser.parse_args().process)
