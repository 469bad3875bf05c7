"""gRPC at one port: ``/<name>/<package.Service>/<Method>`` goes to the algorithm's own instances, prefix taken off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from algodock_deployer.domain.manifest import MOST_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from algodock_common.events import InstanceChanged
    from algodock_deployer.domain.edge import Site

__all__ = ["GrpcServer", "GrpcService", "fleet_of", "grpc_maps", "grpc_server"]

TIMEOUT_S: Final = 60
"""Between two messages of a call, unless the service's own timeout is longer."""


@dataclass(frozen=True, order=True)
class GrpcServer:
    """An instance that takes calls."""

    host: str
    port: int
    weight: int = 1


@dataclass(frozen=True)
class GrpcService:
    """An algorithm that speaks gRPC; without servers it is down."""

    name: str
    servers: tuple[GrpcServer, ...] = ()
    concurrency: int | None = None
    timeout_s: float = 30


@dataclass(frozen=True)
class _Ending:
    """What becomes of a status of nginx's own: gRPC's number and name for it, and words for both kinds of callers."""

    status: int
    code: int
    said: str


_ENDINGS: Final = (
    _Ending(400, 13, "the request is malformed"),
    _Ending(401, 16, "a valid API key is needed: metadata authorization with Bearer and the key"),
    _Ending(403, 7, "not allowed from here"),
    _Ending(404, 12, "no such gRPC service: call /<name>/<package.Service>/<Method>"),
    _Ending(408, 4, "the request did not come in time"),
    _Ending(429, 8, "all places of the service are taken"),
    _Ending(500, 14, "calls cannot be authorised now"),
    _Ending(502, 14, "the service is down"),
    _Ending(503, 14, "the service is down"),
    _Ending(504, 4, "no answer in time"),
)


def fleet_of(names: Iterable[str], instances: Iterable[InstanceChanged]) -> tuple[GrpcService, ...]:
    """Return every gRPC service with the instances that take calls.

    ``names`` are those that are known whether or not they run; ``instances`` are all that the registry has.
    """
    ready: dict[str, list[InstanceChanged]] = {name: [] for name in names}
    for one in instances:
        if one.base_url.startswith("grpc://"):
            known = ready.setdefault(one.algorithm, [])
            if one.state == "ready" and one.weight:
                known.append(one)
    return tuple(_service(name, ready[name]) for name in sorted(ready))


def _service(name: str, ready: list[InstanceChanged]) -> GrpcService:
    if not ready:
        return GrpcService(name)
    limits = max(ready, key=lambda one: one.epoch).limits
    servers = tuple(sorted(GrpcServer(one.host, one.port, one.weight) for one in ready))
    return GrpcService(name, servers, limits.concurrency, limits.timeout_s)


def grpc_maps(services: Sequence[GrpcService]) -> str:
    """Return what belongs into ``http``: who is meant by a path or by metadata, the groups of servers, the log."""
    names = "".join(f"        {one.name} {one.name};\n" for one in services)
    groups = "".join(_group(one) for one in services)
    zone = "    limit_conn_zone $algodock_grpc zone=algodock_grpc:1m;\n" if any(s.concurrency for s in services) else ""
    return f"""    map $http_content_type $algodock_kind {{ default http; "~^application/grpc" grpc; }}
    map $uri $algodock_prefix {{ default ""; "~^/(?<algodock_before>[a-z0-9-]+)/[^/]+/[^/]+$" $algodock_before; }}
    map $uri $algodock_method {{ default $uri; "~^/[a-z0-9-]+(?<algodock_after>/[^/]+/[^/]+)$" $algodock_after; }}
    map $algodock_prefix $algodock_named {{ default $algodock_prefix; "" $http_x_algodock_service; }}
    map $algodock_named $algodock_grpc {{
        default "";
{names}    }}
{zone}    log_format algodock_grpc escape=json '{{"time":"$time_iso8601","id":"$request_id","service":"$algodock_grpc",'
        '"method":"$algodock_method","status":$status,"grpc_status":"$sent_trailer_grpc_status$sent_http_grpc_status",'
        '"seconds":$request_time,"instance":"$upstream_addr","peer":"$remote_addr","sent":$body_bytes_sent}}';
{groups}"""


def _group(service: GrpcService) -> str:
    """Return the instances of a service; a service that is down has one that is never called.

    Where weights differ each gets its share of the calls, however long they take; else the one with the fewest is next.
    """
    servers = service.servers or (GrpcServer("127.0.0.1", 1),)
    down = "" if service.servers else " down"
    balance = "        least_conn;\n" if len({one.weight for one in servers}) == 1 else ""
    lines = "".join(
        f"        server {f'[{one.host}]' if ':' in one.host else one.host}:{one.port} weight={one.weight} "
        f"max_fails=1 fail_timeout=1s{down};\n"
        for one in sorted(servers)
    )
    return f"""    upstream algodock_grpc_{service.name} {{
        zone algodock_grpc_{service.name} 64k;
{balance}{lines}        keepalive 16;
    }}
"""


def grpc_server(site: Site, services: Sequence[GrpcService]) -> str:
    """Return the server at the gRPC port."""
    ssl = " ssl" if site.tls else ""
    listen = f"{site.grpc}{ssl} so_keepalive=on" if site.http2_directive else f"{site.grpc}{ssl} http2 so_keepalive=on"
    http2 = "        http2 on;\n" if site.http2_directive else ""
    certificate = (
        f'        ssl_certificate "{site.certificate}";\n        ssl_certificate_key "{site.certificate_key}";\n'
        if site.tls
        else ""
    )
    access = "".join(f"        deny {network};\n" for network in site.deny)
    access += "".join(f"        allow {network};\n" for network in site.allow)
    access += "        deny all;\n" if site.allow else ""
    return f"""    server {{
        listen {listen};
{http2}{certificate}{access}        access_log "{site.folder}/grpc.log" algodock_grpc;
        keepalive_requests 1000000;
        http2_max_concurrent_streams 1024;
        client_body_timeout {TIMEOUT_S}s;
        limit_conn_status 429;
        location / {{
{_errors()}            if ($algodock_grpc = "") {{ return 404; }}
            if ($algodock_kind = http) {{ return 404; }}
            rewrite ^ /.grpc/$algodock_grpc$algodock_method last;
        }}
        location = /health {{
            proxy_pass http://algodock_gateway/api/health;
        }}
        location ~ ^/(?<algodock_asked>[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)/health$ {{
            proxy_set_header Authorization "Bearer {site.service_token}";
            proxy_pass http://algodock_gateway/internal/edge/health/$algodock_asked;
        }}
        location = /.authorise {{
            internal;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Authorization "Bearer {site.service_token}";
            proxy_set_header X-Edge-Authorization $http_authorization;
            proxy_set_header X-Edge-Service $algodock_grpc;
            proxy_set_header X-Edge-Method $algodock_method;
            proxy_set_header X-Edge-Request $request_id;
            proxy_set_header Content-Length "";
            proxy_pass_request_headers off;
            proxy_pass_request_body off;
            proxy_connect_timeout 5s;
            proxy_read_timeout {TIMEOUT_S}s;
            proxy_pass http://algodock_gateway/internal/edge/authorise;
        }}
{"".join(_location(one) for one in services)}{"".join(_ending(one) for one in _ENDINGS)}    }}
"""


def _location(service: GrpcService) -> str:
    wait_s = max(TIMEOUT_S, round(service.timeout_s))
    most = min(service.concurrency or 0, MOST_AT_ONCE)  # one service's number must not be what nginx refuses for all
    limit = f"            limit_conn algodock_grpc {most};\n" if most else ""
    return f"""        location ^~ /.grpc/{service.name}/ {{
            internal;
{_errors()}{limit}            auth_request /.authorise;
            rewrite ^/\\.grpc/{service.name}(/.*)$ $1 break;
            grpc_set_header Authorization "";
            grpc_set_header X-AlgoDock-Identity "";
            grpc_set_header X-AlgoDock-Service "";
            grpc_set_header X-Forwarded-For $remote_addr;
            grpc_set_header X-Request-ID $request_id;
            grpc_socket_keepalive on;
            grpc_connect_timeout 5s;
            grpc_read_timeout {wait_s}s;
            grpc_send_timeout {wait_s}s;
            grpc_pass grpc://algodock_grpc_{service.name};
        }}
"""


def _errors() -> str:
    """Return how a location ends calls by itself.

    Never for the whole server: where the question for authorisation fails, an ending of 200 would be a yes.
    """
    return "".join(f"            error_page {one.status} = @${{algodock_kind}}_{one.status};\n" for one in _ENDINGS)


def _ending(ending: _Ending) -> str:
    """Return the two locations that end a call with a status of the edge's own."""
    problem = f'{{"type":"about:blank","status":{ending.status},"detail":"{ending.said}"}}'
    return f"""        location @grpc_{ending.status} {{
            default_type application/grpc;
            add_header grpc-status {ending.code} always;
            add_header grpc-message "{ending.said}" always;
            return 200 "";
        }}
        location @http_{ending.status} {{
            default_type application/problem+json;
            return {ending.status} '{problem}';
        }}
"""
