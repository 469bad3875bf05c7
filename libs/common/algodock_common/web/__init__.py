"""HTTP in and between services: the application they start from, who may call, how they call."""

from algodock_common.web.app import Lifespan, WebSettings, service_app
from algodock_common.web.client import InternalClient
from algodock_common.web.health import HealthCheck, run_checks
from algodock_common.web.identity import (
    IDENTITY_HEADER,
    Identity,
    current_identity,
    new_identity_keys,
    sign_identity,
    verify_identity,
)
from algodock_common.web.problems import problem_response, unexpected_error
from algodock_common.web.server import serve
from algodock_common.web.service_auth import bearer_token, require_service_token
from algodock_common.web.stopping import when_stopping

__all__ = [
    "IDENTITY_HEADER",
    "HealthCheck",
    "Identity",
    "InternalClient",
    "Lifespan",
    "WebSettings",
    "bearer_token",
    "current_identity",
    "new_identity_keys",
    "problem_response",
    "require_service_token",
    "run_checks",
    "serve",
    "service_app",
    "sign_identity",
    "unexpected_error",
    "verify_identity",
    "when_stopping",
]
