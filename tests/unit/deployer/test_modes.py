"""``deployment.mode`` from the environment: the system's, one service's, and what is none."""

from __future__ import annotations

import pytest

from algodock_deployer.domain.modes import Modes, modes_of


def test_nothing_set_is_supervisor() -> None:
    assert modes_of({"PATH": "/bin", "DEPLOYMENT_MODE": ""}) == Modes("supervisor", {})


def test_the_system_has_one_and_a_service_may_have_its_own() -> None:
    modes = modes_of({"DEPLOYMENT_MODE": "local", "ALGODOCK_SERVICE_TEXT_CLASSIFY_DEPLOYMENT_MODE": "supervisor"})
    assert modes.of("edges") == "local"
    assert modes.of("text-classify") == "supervisor"
    assert modes.used == {"local", "supervisor"}


def test_the_name_with_the_prefix_goes_before() -> None:
    assert modes_of({"DEPLOYMENT_MODE": "supervisor", "ALGODOCK_DEPLOYMENT_MODE": "local"}).default == "local"


@pytest.mark.parametrize("name", ["DEPLOYMENT_MODE", "ALGODOCK_SERVICE_X_DEPLOYMENT_MODE"])
def test_a_mode_that_there_is_none_of_is_refused_with_what_there_is(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=ray is no deployment mode; there are supervisor, local, docker"):
        modes_of({name: "ray"})
