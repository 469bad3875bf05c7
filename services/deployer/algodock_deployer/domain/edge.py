"""The edge: nginx's configuration, written from what the platform serves and how it is meant to be reached."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from algodock_common.errors import InvalidInput
from algodock_deployer.domain.edge_grpc import grpc_maps, grpc_server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from algodock_deployer.domain.edge_grpc import GrpcService

__all__ = ["Site", "render"]

ASSETS_S: Final = 31_536_000
"""Files below ``/assets/`` carry a digest of their content in their names: they never change."""

GATEWAY_IDLE_S: Final = 10
"""A connection that rested longer is not used again: well before a gateway would close it under a request."""

_SAFE: Final = re.compile(r"[A-Za-z0-9_.:/\[\]@%+=,~ -]+")
_COMPRESSED: Final = (
    "application/javascript application/json application/problem+json application/wasm application/xml image/svg+xml "
    "text/css text/javascript text/plain text/xml"
)
"""``text/html`` always is; server-sent events are not, so that each comes when it was sent."""


@dataclass(frozen=True)
class Site:
    """How the edge is reached, and what stands behind it.

    ``http``, ``https`` and ``grpc`` are addresses to listen on, ``host:port``; without a certificate there is no TLS.
    ``proxies`` are the networks whose ``X-Forwarded-For`` counts, ``gateways`` the gateways' ``host:port``.
    ``allow`` and ``deny`` are networks at the gRPC port. ``user`` is who the workers are, where the master is root.
    ``http2_directive``: nginx has ``http2 on`` (1.25.1 and later) in the place of the listening address's flag.
    ``certificate_mark`` changes with the certificate's content, so that a renewed one is loaded.
    """

    folder: Path
    gateways: tuple[str, ...]
    service_token: str = field(repr=False)
    http: str = "127.0.0.1:8080"
    https: str = "127.0.0.1:8443"
    grpc: str = "127.0.0.1:6006"
    server_names: tuple[str, ...] = ()
    certificate: str = ""
    certificate_key: str = ""
    certificate_mark: str = ""
    hsts_s: int = ASSETS_S
    acme_folder: str = ""
    proxies: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    workers: str = "auto"
    user: str = ""
    http2_directive: bool = False

    @property
    def tls(self) -> bool:
        """Return whether the edge speaks TLS."""
        return bool(self.certificate)

    def check(self) -> None:
        """See to it that no setting can say more to nginx than its own value.

        Raises:
            InvalidInput: one holds a quote, a brace, a semicolon or a line's end.
        """
        values = (
            str(self.folder), self.service_token, self.http, self.https, self.grpc, self.certificate,
            self.certificate_key, self.acme_folder, self.workers, self.user, *self.gateways, *self.server_names,
            *self.proxies, *self.allow, *self.deny,
        )  # fmt: skip
        for value in values:
            if value and _SAFE.fullmatch(value) is None:
                raise InvalidInput(f"the edge cannot be told {value!r}: it holds what means something to nginx")


def render(site: Site, services: Sequence[GrpcService]) -> str:
    """Return the whole ``nginx.conf``.

    Raises:
        InvalidInput: a setting cannot stand in it.
    """
    site.check()
    ordered = sorted(services, key=lambda one: one.name)
    blocks = [_main(site), "http {\n", _common(site), grpc_maps(ordered), _gateways(site)]
    blocks += [_front(site, "https" if site.tls else "http")]
    if site.tls:
        blocks.append(_plain(site))
    blocks += [grpc_server(site, ordered), "}\n"]
    return "".join(blocks)


def _main(site: Site) -> str:
    user = f"user {site.user};\n" if site.user else ""
    return f"""# Written by AlgoDock's deployer; what is changed here is overwritten.
# certificate: {site.certificate_mark or "none"}
{user}worker_processes {site.workers};
worker_shutdown_timeout 1h;
pid "{site.folder}/nginx.pid";
error_log "{site.folder}/error.log" warn;
events {{ worker_connections 4096; }}
"""


def _common(site: Site) -> str:
    trusted = "".join(f"    set_real_ip_from {network};\n" for network in site.proxies)
    real_ip = f"{trusted}    real_ip_header X-Forwarded-For;\n    real_ip_recursive on;\n" if site.proxies else ""
    temporary = "".join(
        f'    {kind}_temp_path "{site.folder}/temporary/{kind}";\n'
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""    server_tokens off;
    default_type application/octet-stream;
    types {{ text/html html; text/css css; application/javascript js; image/svg+xml svg; }}
    access_log off;
    sendfile on;
    tcp_nodelay on;
    keepalive_timeout 75s;
    client_max_body_size 0;
{temporary}{real_ip}    gzip on;
    gzip_vary on;
    gzip_proxied any;
    gzip_min_length 1024;
    gzip_types {_COMPRESSED};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers HIGH:!aNULL:!MD5:!SHA1:!kRSA;
    ssl_prefer_server_ciphers off;
    ssl_session_cache shared:algodock:4m;
    ssl_session_tickets off;
    map $http_upgrade $algodock_connection {{ default upgrade; "" ""; }}
"""


def _gateways(site: Site) -> str:
    servers = "".join(f"        server {address};\n" for address in site.gateways)
    return f"""    upstream algodock_gateway {{
{servers}        keepalive 64;
        keepalive_timeout {GATEWAY_IDLE_S}s;
    }}
"""


def _tls(site: Site) -> str:
    if not site.tls:
        return ""
    return f"""        ssl_certificate "{site.certificate}";
        ssl_certificate_key "{site.certificate_key}";
"""


def _front(site: Site, kind: str) -> str:
    """Return the server that faces people: pages, API, calls, git."""
    http2 = "        http2 on;\n" if site.http2_directive and site.tls else ""
    flags = "" if kind == "http" else " ssl" if site.http2_directive else " ssl http2"
    hsts = f'add_header Strict-Transport-Security "max-age={site.hsts_s}" always;' if site.tls and site.hsts_s else ""
    acme = _acme(site) if kind == "http" else ""
    names = " ".join(site.server_names) or "_"
    address = site.https if kind == "https" else site.http
    return f"""    server {{
        listen {address}{flags};
{http2}        server_name {names};
{_tls(site)}        {hsts}
{acme}        error_page 502 503 504 = @algodock_away;
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header Connection $algodock_connection;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-Host $http_host;
        proxy_connect_timeout 5s;
        proxy_read_timeout 1h;
        proxy_send_timeout 1h;
        # Answers pass as they come, server-sent events among them; bodies too, so nothing is kept on disk here.
        proxy_buffering off;
        proxy_request_buffering off;
        location / {{ proxy_pass http://algodock_gateway; }}
        location /api/ {{ proxy_pass http://algodock_gateway; }}
        location ^~ /ai/ {{ proxy_pass http://algodock_gateway; }}
        location ^~ /internal/ {{
            default_type application/problem+json;
            return 404 '{_problem(404, "Not found", "There is nothing here.")}';
        }}
        location @algodock_away {{
            default_type application/problem+json;
            add_header Retry-After 1 always;
            {hsts}
            return 503 '{_problem(503, "Unavailable", "The platform does not answer now; try again in a moment.")}';
        }}
        location ^~ /assets/ {{
            expires {ASSETS_S}s;
            proxy_pass http://algodock_gateway;
        }}
        location ~ ^/(?!api/)(?<algodock_asked>[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)/health$ {{
            proxy_set_header Authorization "Bearer {site.service_token}";
            proxy_set_header Host $http_host;
            proxy_pass http://algodock_gateway/internal/edge/health/$algodock_asked;
        }}
    }}
"""


def _problem(status: int, title: str, detail: str) -> str:
    """Return a problem document (RFC 9457) of the edge's own."""
    return f'{{"type":"about:blank","title":"{title}","status":{status},"detail":"{detail}"}}'


def _plain(site: Site) -> str:
    """Return the server that sends everybody to TLS, but for who renews the certificate."""
    port = site.https.rpartition(":")[2]
    shown = "" if port == "443" else f":{port}"
    return f"""    server {{
        listen {site.http};
        server_name _;
{_acme(site)}        location / {{ return 308 https://$host{shown}$request_uri; }}
    }}
"""


def _acme(site: Site) -> str:
    if not site.acme_folder:
        return ""
    return f"""        location ^~ /.well-known/acme-challenge/ {{
            root "{site.acme_folder}";
            default_type text/plain;
        }}
"""
