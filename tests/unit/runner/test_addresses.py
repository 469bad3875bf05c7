"""Where callbacks may go."""

from __future__ import annotations

import pytest

from algodock_runner.domain.addresses import check_address, check_callback_url
from algodock_runner.domain.errors import CallbackAddressRefused

INSIDE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "::1", "fc00::1", "::ffff:10.0.0.1",
    "64:ff9b::10.0.0.1", "2002:0a00:0001::1", "::7f00:1",
]  # fmt: skip
NEVER = ["169.254.169.254", "fe80::1", "224.0.0.1", "0.0.0.0", "::", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"]  # noqa: S104  # refused
PUBLIC = ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::93.184.216.34"]


@pytest.mark.parametrize("address", [*INSIDE, *NEVER])
def test_an_address_inside_is_refused(address: str) -> None:
    with pytest.raises(CallbackAddressRefused):
        check_address(address, allow_private=False)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address: str) -> None:
    check_address(address, allow_private=False)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "100.64.0.1", "::1", "fc00::1", "::ffff:10.0.0.1"])
def test_private_addresses_are_allowed_where_that_is_configured(address: str) -> None:
    check_address(address, allow_private=True)


@pytest.mark.parametrize("address", NEVER)
def test_link_local_and_the_like_are_never_allowed(address: str) -> None:
    with pytest.raises(CallbackAddressRefused):
        check_address(address, allow_private=True)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/", "http://", "http:///path", "http://a:b@example.com/", "http://example.com:99999/",
        "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://127.0.0.1./", "http://[::1]/",
        "http://exa mple.com/", "http://example.com/\r\nx: y", "http://[::1", "http://10.0.0.1\\@example.com/",
    ],
)  # fmt: skip
def test_a_url_that_is_none_or_leads_inside_is_refused(url: str) -> None:
    with pytest.raises(CallbackAddressRefused):
        check_callback_url(url, allow_private=False)


@pytest.mark.parametrize("url", ["https://example.com/hook?x=1", "http://example.com:8080/", "https://93.184.216.34/"])
def test_a_usual_url_is_allowed(url: str) -> None:
    check_callback_url(url, allow_private=False)
