"""``python -m algodock_sdk [ai_algorithm.py]``: serve it on ``$HOST:$PORT`` (default 127.0.0.1:8000)."""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from pathlib import Path

from algodock_sdk.serving import serve, set_up_logging

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Serve until stopped; return 1 when the file cannot be served, with the reason as the last line on stderr."""
    arguments = _arguments(argv)
    set_up_logging()
    from algodock_sdk.algorithm import AlgorithmError, load_algorithm

    try:
        algorithm = load_algorithm(Path(arguments.file))
    except AlgorithmError as error:
        print(f"AlgorithmError: {error}", file=sys.stderr)
        return 1
    except Exception as error:  # noqa: BLE001  (the author's code; the reason is the last line, for whoever reads the log)
        traceback.print_exc()
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    if arguments.check:
        signature = algorithm.signature
        print(json.dumps({"input": signature.input_schema(), "output": signature.output_schema()}, ensure_ascii=False))
        return 0

    return serve(algorithm, host=arguments.host, port=arguments.port)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m algodock_sdk", description="Serve a predict function over HTTP.")
    parser.add_argument("file", nargs="?", default="ai_algorithm.py", help="default: ai_algorithm.py")
    parser.add_argument("--host", default=os.environ.get("HOST") or "127.0.0.1", help="default: $HOST, or 127.0.0.1")
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT") or 8000), help="default: $PORT, or 8000")
    parser.add_argument("--check", action="store_true", help="load it, print its schemas as JSON and exit")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
