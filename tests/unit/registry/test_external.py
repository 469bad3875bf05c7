"""Which URLs a service that runs elsewhere may register."""

from __future__ import annotations

import pytest

from algodock_common.errors import InvalidInput
from algodock_registry.domain import ExternalAddress

OWN = frozenset({("127.0.0.1", 8013), ("gateway.internal", 443)})


@pytest.mark.parametrize(
    ("url", "base_url", "port"),
    [
        ("http://10.0.0.5:9000", "http://10.0.0.5:9000", 9000),
        ("http://models.example.com/", "http://models.example.com:80", 80),
        ("https://models.example.com/v1/echo/", "https://models.example.com:443/v1/echo", 443),
        ("http://[2001:db8::1]:9000", "http://[2001:db8::1]:9000", 9000),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000", 9000),
        ("grpc://10.0.0.5:9000/", "grpc://10.0.0.5:9000", 9000),
    ],
)
def test_a_base_url_is_taken_in_one_form(url: str, base_url: str, port: int) -> None:
    address = ExternalAddress.parse(url, own=OWN)
    assert (address.base_url, address.port) == (base_url, port)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "models.example.com:9000",
        "ftp://models.example.com",
        "file:///etc/passwd",
        "http://",
        "http://host:99999",
        "http://[::1",
        "http://user:password@host:9000",
        "http://host:9000/?a=1",
        "http://host:9000/#part",
        "http://169.254.169.254/latest",
        "http://[fe80::1]:9000",
        "http://[::ffff:169.254.169.254]/",
        "http://127.0.0.1:8013",
        "http://localhost:8013",
        "http://127.0.0.2:8013",
        "http://0.0.0.0:8013",
        "http://[::1]:8013",
        "http://[::ffff:127.0.0.1]:8013",
        "https://Gateway.Internal./x",
    ],
)
def test_what_is_no_place_for_calls_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        ExternalAddress.parse(url, own=OWN)
