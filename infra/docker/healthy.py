"""Exits 0 when the service in this container answers PATH with 200: healthy.py [PATH], default /health.

Only the standard library, because it runs every few seconds (python -I -S healthy.py /ready).
"""

import http.client
import os
import sys


def main() -> None:
    """Ask once, for at most four seconds."""
    path = sys.argv[1] if len(sys.argv) > 1 else "/health"
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["HTTP_PORT"]), timeout=4)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except OSError as error:
        sys.exit(f"{path}: {error}")
    if status != http.client.OK:
        sys.exit(f"{path}: HTTP {status}")


if __name__ == "__main__":
    main()
