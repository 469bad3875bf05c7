"""Origins, and the heads that go to them."""

from __future__ import annotations

import pytest

from algodock_common.upstream import CannotConnect, Origin, Pool
from algodock_gateway.routes.headers import request_head


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8100", ("127.0.0.1", 8100, False, b"", b"127.0.0.1:8100")),
        ("https://models.example.com/v1/", ("models.example.com", 443, True, b"/v1", b"models.example.com")),
        ("http://[::1]:9/x", ("::1", 9, False, b"/x", b"[::1]:9")),
        ("http://user:secret@h:1", ("h", 1, False, b"", b"h:1")),
    ],
)
def test_an_origin_is_read_from_a_base_url(url: str, expected: tuple[object, ...]) -> None:
    origin = Origin.of(url)
    assert (origin.host, origin.port, origin.tls, origin.prefix, origin.authority) == expected


@pytest.mark.parametrize("url", ["ftp://h", "http://", "h:1", "http://h:99999", "http://h/\r\nx: y", "http://h/文"])
async def test_a_base_url_that_is_none_cannot_be_connected_to(url: str) -> None:
    with pytest.raises(CannotConnect):
        Pool().origin(url)


SCOPE = {
    "method": "POST",
    "scheme": "http",
    "client": ("10.0.0.9", 1),
    "headers": [(b"host", b"dock.example.com"), (b"x-forwarded-proto", b"https"), (b"x-forwarded-host", b"edge")],
}


def test_only_a_trusted_edges_word_on_scheme_and_host_counts() -> None:
    origin = Origin.of("http://127.0.0.1:1")
    stranger = request_head(SCOPE, origin, target=b"/x", length=0)
    assert b"x-forwarded-proto: http\r\nx-forwarded-host: dock.example.com\r\n" in stranger
    edge = request_head(SCOPE, origin, target=b"/x", length=0, proxies=frozenset({"10.0.0.9"}))
    assert b"x-forwarded-proto: https\r\nx-forwarded-host: edge\r\n" in edge
