"""Where callbacks may go."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from algodock_runner.domain.addresses import Destinations, parse_networks, parse_ports
from algodock_runner.domain.errors import CallbackAddressRefused
from algodock_runner.settings import CallbackSettings

INSIDE = ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "::1", "fc00::1", "::ffff:10.0.0.1"]
NEVER = [
    "169.254.169.254", "fe80::1", "fe80::1%eth0", "fec0::1", "224.0.0.1", "ff02::1", "0.0.0.0", "0.1.2.3",  # noqa: S104  # refused
    "::", "255.255.255.255", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
]  # fmt: skip
NOT_PUBLIC = [
    "192.0.0.8", "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "192.88.99.1", "240.0.0.1",
    "2001:db8::1", "3fff::1", "100::1", "5f00::1", "4000::1", "64:ff9b:1::1",
    "64:ff9b::10.0.0.1", "2002:0a00:0001::1", "2002:5db8:d822::1", "2001:0:0a00:1::1", "::7f00:1",
    "2606:2800:220:1:0:5efe:10.0.0.1", "::ffff:0:10.0.0.1",
]  # fmt: skip
PUBLIC = ["93.184.216.34", "::ffff:93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::93.184.216.34"]


@pytest.mark.parametrize("address", [*INSIDE, *NEVER, *NOT_PUBLIC])
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(CallbackAddressRefused):
        Destinations().check_address(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address: str) -> None:
    Destinations().check_address(address)


@pytest.mark.parametrize("address", INSIDE)
def test_private_addresses_are_allowed_where_that_is_configured(address: str) -> None:
    Destinations(allow_private=True).check_address(address)


@pytest.mark.parametrize("address", [*NEVER, "192.0.2.1", "2002:0a00:0001::1"])
def test_link_local_and_the_like_are_never_allowed(address: str) -> None:
    with pytest.raises(CallbackAddressRefused):
        Destinations(allow_private=True, networks=parse_networks("169.254.0.0/16,fe80::/10")).check_address(address)


def test_only_the_networks_that_are_named_are_allowed() -> None:
    some = Destinations(networks=parse_networks("10.1.0.0/16, fd00:1::/32"))
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd00:1::5", "93.184.216.34"):
        some.check_address(address)
    for address in ("10.2.0.1", "127.0.0.1", "fd00:2::5"):
        with pytest.raises(CallbackAddressRefused):
            some.check_address(address)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/", "http://", "http:///path", "http://a:b@example.com/", "http://@example.com/",
        "http://example.com:99999/", "http://example.com:0/", "http://example.com:22/",
        "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://127.0.0.0x1/",
        "http://127.0.0.1./", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://[fe80::1%25eth0]/",
        "http://127。0。0。1/", "http://\uff11\uff12\uff17.0.0.1/", "http://①②⑦.0.0.1/",
        "http://exa mple.com/", "http://example.com/\r\nx: y", "http://[::1", "http://10.0.0.1\\@example.com/",
        "http://example.com/" + 2048 * "x", "http://./", f"http://{64 * 'ä'}.com/",
    ],
)  # fmt: skip
def test_a_url_that_is_none_or_leads_inside_is_refused(url: str) -> None:
    with pytest.raises(CallbackAddressRefused):
        Destinations(ports=parse_ports("80,443,1024-65535")).check_url(url)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.com/hook?x=1", "example.com:443"),
        ("http://Example.com:8080/", "example.com:8080"),
        ("https://93.184.216.34/", "93.184.216.34:443"),
        ("https://bücher.example/", "xn--bcher-kva.example:443"),
        ("http://example.com./x", "example.com:80"),
    ],
)
def test_a_usual_url_is_allowed(url: str, name: str) -> None:
    read = Destinations().check_url(url)
    assert f"{read.host}:{read.port}" == name


@pytest.mark.parametrize("ports", ["0-5", "9-8", "70000", "http", "80,,443"])
def test_ports_that_are_none_are_refused(ports: str) -> None:
    with pytest.raises(ValueError, match=r"port|int"):
        parse_ports(ports)


def test_wrong_settings_are_refused_at_the_start() -> None:
    with pytest.raises(ValidationError, match="host bits"):
        CallbackSettings(allowed_networks="10.0.0.1/8")
    with pytest.raises(ValidationError, match="ports"):
        CallbackSettings(ports="0")
    found = CallbackSettings(allowed_networks="10.0.0.0/8", ports="443").destinations
    assert found.check_url("https://10.0.0.1/").port == 443
    with pytest.raises(CallbackAddressRefused, match="port 8080"):
        found.check_url("https://10.0.0.1:8080/")
