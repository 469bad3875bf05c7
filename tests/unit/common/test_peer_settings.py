"""Where the gateway is for the services, and where it is for people."""

from __future__ import annotations

import pytest

from algodock_common.settings import PeerSettings


def test_people_find_the_gateway_where_services_do_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PUBLIC_URL", raising=False)
    monkeypatch.setenv("GATEWAY_URL", "http://127.0.0.1:8010/")
    assert PeerSettings().public_url == "http://127.0.0.1:8010"
    monkeypatch.setenv("PUBLIC_URL", "https://dock.example.com/")
    settings = PeerSettings()
    assert (settings.public_url, settings.gateway_url) == ("https://dock.example.com", "http://127.0.0.1:8010/")
