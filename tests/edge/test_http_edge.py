"""The edge as browsers and programs meet it: pages, API, streams, compression, TLS, who is believed on addresses."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import ssl
import subprocess
from pathlib import Path

import grpc
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.edge.conftest import SCRIPT, Front, StandIn, nginx_binary, service, standing_in
from tests.outside.grpc_peers import ECHO, GrpcPeer
from tests.outside.platform import eventually

HOOK = Path(__file__).parents[2] / "infra" / "nginx" / "certbot-deploy-hook"
pytestmark = pytest.mark.timeout(300)


def get(url: str, **options: str) -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=60, headers=options) as client:
        return client.get(url)


def certificate(folder: Path, name: str) -> tuple[str, str]:
    """Make a certificate of our own for 127.0.0.1; return its file and its key's."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(files[0]), str(files[1])


def test_everything_goes_to_the_gateway_but_its_inside(front: Front, gateway: StandIn) -> None:
    front.serve()
    for path in ("/", "/api/v1/services?a=%20b", "/ai/echo/predict", "/git/algodock/echo.git/info/refs", "/api/health"):
        assert get(front.url + path).json() == {"path": path}
    for path in ("/internal/keys/verify", "//internal/x", "/%69nternal/x", "/a/../internal/x"):
        answer = get(front.url + path)
        assert (answer.status_code, answer.json()["status"]) == (404, 404), path
    assert gateway.heads[0]["host"] == front.site.http
    assert gateway.heads[0]["x-forwarded-host"] == front.site.http
    assert gateway.heads[0]["x-forwarded-proto"] == "http"


def test_a_gateway_that_is_away_is_a_problem_document(front: Front) -> None:
    with standing_in() as away:
        port = away.port
    front.serve(gateways=(f"127.0.0.1:{port}",))
    answer = get(f"{front.url}/api/x")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert answer.headers["retry-after"] == "1"
    assert "try again" in answer.json()["detail"]


def test_a_services_health_is_told_by_its_name(front: Front) -> None:
    front.serve()
    assert get(f"{front.url}/echo-one/health").json() == {"service": "echo-one"}
    assert get(f"{front.url}/other/health").status_code == 404


def test_addresses_are_believed_of_trusted_proxies_only(front: Front, gateway: StandIn) -> None:
    forged = {"x-forwarded-for": "203.0.113.9"}
    front.serve()
    get(f"{front.url}/api/x", **forged)
    front.serve(proxies=("127.0.0.0/8",))
    get(f"{front.url}/api/x", **forged)
    get(f"{front.url}/api/x", **{"x-forwarded-for": "198.51.100.1, 203.0.113.9, 127.0.0.1"})
    assert [head["x-forwarded-for"] for head in gateway.heads] == ["127.0.0.1", "203.0.113.9", "203.0.113.9"]


def test_an_event_comes_when_it_was_sent(front: Front, gateway: StandIn) -> None:
    front.serve()
    with (
        httpx.Client(trust_env=False, timeout=60) as client,
        client.stream("GET", f"{front.url}/api/v1/stream", headers={"accept-encoding": "gzip"}) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == 'data: {"n": 1}', "the second is not sent before this one has come"
        assert "content-encoding" not in answer.headers
        gateway.go_on.set()
        assert [line for line in lines if line] == ['data: {"n": 2}']


def test_files_with_a_digest_in_their_name_are_compressed_and_kept(front: Front) -> None:
    front.serve()
    answer = get(f"{front.url}/assets/index-4f3a.js", **{"accept-encoding": "gzip"})
    assert answer.content == SCRIPT
    assert answer.headers["content-encoding"] == "gzip"
    assert "accept-encoding" in answer.headers["vary"].lower()
    assert answer.headers["cache-control"] == "max-age=31536000"
    assert "cache-control" not in get(f"{front.url}/api/x").headers


def test_tls_is_modern_and_strict_and_plain_http_leads_to_it(front: Front, gateway: StandIn, tmp_path: Path) -> None:
    pem, key = certificate(tmp_path, "first")
    challenges = tmp_path / "acme" / ".well-known" / "acme-challenge"
    challenges.mkdir(parents=True)
    (challenges / "token").write_text("proof")
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o011)  # nginx's workers are another user where these tests run as root
    with GrpcPeer.listening() as peer:
        site = front.serve(
            service("echo-one", peer), certificate=pem, certificate_key=key, acme_folder=str(tmp_path / "acme")
        )
        port = site.https.rpartition(":")[2]
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = ssl.create_default_context(cafile=pem)
            context.minimum_version = context.maximum_version = version
            with httpx.Client(verify=context, trust_env=False, timeout=60) as client:
                answer = client.get(f"https://localhost:{port}/api/x")
                assert answer.headers["strict-transport-security"] == "max-age=31536000"
                assert "strict-transport-security" in client.get(f"https://localhost:{port}/assets/x.js").headers
        assert gateway.heads[0]["x-forwarded-proto"] == "https"
        moved = get(f"{front.url}/api/x?a=1")
        assert (moved.status_code, moved.headers["location"]) == (308, f"https://127.0.0.1:{port}/api/x?a=1")
        assert get(f"{front.url}/.well-known/acme-challenge/token").text == "proof"

        trusting = grpc.ssl_channel_credentials(open(pem, "rb").read())  # noqa: PTH123, SIM115  # a few bytes
        address = f"localhost:{front.grpc_port}"
        assert front.call(f"/echo-one{ECHO}", channel=grpc.secure_channel(address, trusting)) == b"hello"
        assert front.refused(f"/echo-one{ECHO}")[0] == "UNAVAILABLE", "nothing is said without TLS"


def test_certbots_hook_tests_and_reloads(front: Front) -> None:
    front.serve()
    before = set(asyncio.run(front.nginx.workers()))
    data = front.site.folder.parent.parent
    environment = os.environ | {"NGINX_BINARY": nginx_binary()}
    subprocess.run(["/bin/sh", str(HOOK), str(data)], env=environment, check=True, timeout=60)
    eventually(lambda: not before & set(asyncio.run(front.nginx.workers())))
    config = front.site.folder / "nginx.conf"
    config.write_text(config.read_text() + "nonsense;")
    ended = subprocess.run(["/bin/sh", str(HOOK), str(data)], env=environment, check=False, timeout=60)
    assert ended.returncode != 0, "what nginx refuses is not loaded"


def test_old_tls_is_refused(front: Front, tmp_path: Path) -> None:
    pem, key = certificate(tmp_path, "old")
    text = (front.serve(certificate=pem, certificate_key=key).folder / "nginx.conf").read_text()
    assert "ssl_protocols TLSv1.2 TLSv1.3;" in text
    context = ssl.create_default_context(cafile=pem)
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with (
        httpx.Client(verify=context, trust_env=False, timeout=60) as client,
        pytest.raises(httpx.ConnectError, match="alert protocol version"),
    ):
        client.get(f"https://localhost:{front.site.https.rpartition(':')[2]}/")
