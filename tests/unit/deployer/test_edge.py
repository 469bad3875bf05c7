"""The edge's configuration as a text: what follows from the routing, and what no setting can say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from algodock_common.errors import InvalidInput
from algodock_common.events import InstanceChanged, Limits
from algodock_deployer.domain.edge import Site, render
from algodock_deployer.domain.edge_grpc import GrpcServer, GrpcService, fleet_of
from algodock_deployer.settings import EdgeSettings

SITE = Site(Path("/data/edge"), ("127.0.0.1:8010",), "token")


def instance(name: str, port: int, *, state: str = "ready", scheme: str = "grpc", **more: Any) -> InstanceChanged:
    return InstanceChanged.model_validate(
        {
            "instance_id": uuid4(), "algorithm_id": uuid4(), "algorithm": name, "node_id": "n", "host": "127.0.0.1",
            "port": port, "base_url": f"{scheme}://127.0.0.1:{port}", "state": state, "epoch": 1, **more,
        }
    )  # fmt: skip


def test_a_fleet_is_every_grpc_service_with_those_that_take_calls() -> None:
    found = fleet_of(
        ["stopped", "echo"],
        [
            instance("echo", 2, weight=3, epoch=2, limits=Limits(concurrency=4, timeout_s=90)),
            instance("echo", 1),
            instance("echo", 3, state="draining"),
            instance("echo", 4, weight=0),
            instance("elsewhere", 5, state="silent"),
            instance("over-http", 6, scheme="http"),
        ],
    )
    assert found == (
        GrpcService("echo", (GrpcServer("127.0.0.1", 1), GrpcServer("127.0.0.1", 2, 3)), 4, 90),
        GrpcService("elsewhere"),
        GrpcService("stopped"),
    )


def test_the_order_in_which_things_are_told_changes_nothing() -> None:
    """Else every look would be a reload."""
    some = [instance("a", 1), instance("b", 2), instance("b", 3)]
    assert render(SITE, fleet_of([], some)) == render(SITE, fleet_of(["b"], reversed(some)))


def test_a_services_timeout_counts_where_it_is_longer_than_a_minute() -> None:
    assert "grpc_read_timeout 60s;" in render(SITE, [GrpcService("echo", timeout_s=30)])
    assert "grpc_read_timeout 90s;" in render(SITE, [GrpcService("echo", timeout_s=90)])


def test_a_number_that_nginx_would_refuse_for_all_is_its_largest() -> None:
    assert "limit_conn algodock_grpc 7;" in render(SITE, [GrpcService("echo", concurrency=7)])
    assert "limit_conn algodock_grpc 65535;" in render(SITE, [GrpcService("echo", concurrency=10**23)])


def test_addresses_of_both_kinds_can_be_written() -> None:
    text = render(SITE, [GrpcService("echo", (GrpcServer("2001:db8::1", 8100), GrpcServer("10.0.0.1", 8100, 5)))])
    assert "server [2001:db8::1]:8100 weight=1 " in text
    assert "server 10.0.0.1:8100 weight=5 " in text


def test_weights_that_differ_are_shares_of_the_calls_and_equals_are_chosen_by_what_is_open() -> None:
    equal = GrpcService("echo", (GrpcServer("10.0.0.1", 1), GrpcServer("10.0.0.2", 1)))
    canary = GrpcService("echo", (GrpcServer("10.0.0.1", 1, 9), GrpcServer("10.0.0.2", 1, 1)))
    assert "least_conn" in render(SITE, [equal])
    assert "least_conn" not in render(SITE, [canary])


def test_newer_nginx_is_told_of_http2_by_a_directive() -> None:
    assert "listen 127.0.0.1:6006 http2 so_keepalive=on;" in render(SITE, [])
    newer = render(replace(SITE, http2_directive=True), [])
    assert "listen 127.0.0.1:6006 so_keepalive=on;\n        http2 on;" in newer


@pytest.mark.parametrize("field", ["http", "grpc", "certificate", "acme_folder", "workers", "user"])
@pytest.mark.parametrize("value", ["a;b", "a}b", 'a"b', "a\nb", "a$b", "a\\b", "a'b", "a#b", "a{b"])
def test_no_setting_says_more_than_its_value(field: str, value: str) -> None:
    changed: dict[str, Any] = {field: value}
    with pytest.raises(InvalidInput, match="means something to nginx"):
        render(replace(SITE, **changed), [])


def test_the_token_is_not_shown_with_the_site() -> None:
    assert "token" not in repr(SITE).replace("service_token", "")


def test_a_certificate_without_its_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_TLS_CERTIFICATE", "/etc/edge.pem")
    with pytest.raises(ValueError, match="belong together"):
        EdgeSettings()
    monkeypatch.setenv("EDGE_TLS_KEY", "/etc/edge.key")
    assert EdgeSettings().tls_key == "/etc/edge.key"


def test_there_is_no_edge_unless_one_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (EdgeSettings().edge, EdgeSettings().grpc) == ("off", "127.0.0.1:6006")
    monkeypatch.setenv("EDGE", "nginx")
    monkeypatch.setenv("EDGE_GRPC", "0.0.0.0:6006")  # an edge faces people
    assert (EdgeSettings().edge, EdgeSettings().grpc) == ("nginx", "0.0.0.0:6006")  # as above
    monkeypatch.setenv("EDGE", "apache")
    with pytest.raises(ValueError, match="EDGE"):
        EdgeSettings()
