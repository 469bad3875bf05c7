"""A gRPC service: says again what it hears, and tells its health as grpc.health.v1 wants it."""

import os
import signal
import sys
from concurrent import futures
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

sys.path.insert(0, str(Path(__file__).parent / "build"))

import echo_pb2_grpc  # made from echo.proto by the build command

GRACE_S = 8


class Echo(echo_pb2_grpc.EchoServicer):
    def Say(self, request, _context):  # noqa: ANN001, ANN201, N802  # the .proto names it and its types
        return request

    def SayEach(self, requests, _context):  # noqa: ANN001, ANN201, N802  # as above
        yield from requests


def main() -> None:
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    echo_pb2_grpc.add_EchoServicer_to_server(Echo(), server)
    checks = health.HealthServicer()
    for name in ("", "algodock.examples.Echo"):
        checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    address = f"{os.environ['HOST']}:{os.environ['PORT']}"
    if not server.add_insecure_port(address):
        sys.exit(f"cannot listen on {address}")
    server.start()
    print(f"listens on {address}", flush=True)
    # Open calls end before the program does.
    signal.signal(signal.SIGTERM, lambda *_: server.stop(GRACE_S))
    server.wait_for_termination()


if __name__ == "__main__":
    main()
