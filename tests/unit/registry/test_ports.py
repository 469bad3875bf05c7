"""Which port an instance gets."""

from __future__ import annotations

import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algodock_common.errors import InvalidInput
from algodock_registry.clients import SocketBindTest
from algodock_registry.domain import PortRange

RANGE = PortRange(8100, 8999)


def test_a_range_is_read_from_the_environments_form() -> None:
    assert PortRange.parse("9100-9999") == PortRange(9100, 9999)
    assert PortRange.parse(" 9100 – 9999 ") == PortRange(9100, 9999)


@pytest.mark.parametrize("text", ["", "8100", "8999-8100", "80-90", "8100-70000", "a-b", "-", "8100-8200-8300"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="port range"):
        PortRange.parse(text)


def test_a_freed_port_is_the_last_to_be_leased_again() -> None:
    order = list(RANGE.after(8300, taken=()))
    assert order[0] == 8301
    assert order[-1] == 8300


def test_the_search_goes_round_at_the_ranges_end() -> None:
    assert next(RANGE.after(8999, taken=())) == 8100
    assert next(RANGE.after(None, taken=())) == 8100
    assert next(RANGE.after(5000, taken=())) == 8100, "the range was moved since"


@given(
    cursor=st.none() | st.integers(8090, 9010),
    taken=st.frozensets(st.integers(8100, 8130)),
)
def test_every_port_that_is_not_taken_is_tried_once(cursor: int | None, taken: frozenset[int]) -> None:
    tried = list(PortRange(8100, 8130).after(cursor, taken))
    assert sorted(tried) == sorted(set(range(8100, 8131)) - taken)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])  # noqa: S104  # that such a listener is seen is the point
@pytest.mark.parametrize("lingering", [True, False])
def test_a_port_somebody_listens_on_is_not_free(address: str, *, lingering: bool) -> None:
    with socket.create_server((address, 0)) as server:
        port = server.getsockname()[1]
        assert not SocketBindTest().free("127.0.0.1", port, lingering=lingering)
    assert SocketBindTest().free("127.0.0.1", port, lingering=lingering)


def test_lingering_connections_keep_a_chosen_port_out_of_use_but_not_a_pinned_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # the side that closes first lingers
        client.close()
    time.sleep(0.05)
    assert not SocketBindTest().free("127.0.0.1", port, lingering=False)
    assert SocketBindTest().free("127.0.0.1", port, lingering=True)


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host", "example.com"])
def test_a_host_that_is_not_this_machine_is_an_error_and_not_a_taken_port(host: str) -> None:
    with pytest.raises(InvalidInput):
        SocketBindTest().free(host, 8100, lingering=False)
