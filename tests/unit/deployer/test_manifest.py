"""algodock.yaml: what it may say, and how it is told what is wrong."""

from __future__ import annotations

import pytest

from algodock_deployer.domain.errors import ManifestInvalid
from algodock_deployer.domain.manifest import Manifest, parse_manifest
from algodock_deployer.domain.model_sources import HubModel, Link, StoreObject, parse_source


def test_an_empty_manifest_means_the_defaults() -> None:
    assert parse_manifest(b"") == Manifest()
    assert parse_manifest(b"# nothing\n").limits().timeout_s == 30


def test_a_queue_holds_for_calls_and_tasks_if_it_is_declared() -> None:
    for text, queue, task_queue in ((b"", 100, None), (b"queue: 7", 7, 7), (b"queue: 0", 0, 0)):
        manifest = parse_manifest(text)
        stored = Manifest.model_validate(manifest.model_dump(mode="json", by_alias=True))
        for one in (manifest, stored):
            assert (one.limits().queue, one.limits().task_queue) == (queue, task_queue)


def test_everything_that_the_contract_names_is_taken() -> None:
    found = parse_manifest(
        b"""
name: text-classify
runtime: python
python: 3.11
build: python train.py
entry: main:app
protocol: http
health: /healthz
port: 8001
strategy: blue-green
instances: 1
concurrency: 8
queue: 100
timeout: 30
resources: {cpu: 1, memory: 1Gi, gpu: 0}
env: {MODEL_SIZE: small, DEBUG: true, N: 3}
models: [{path: models/x.onnx, from: "s3://models/x.onnx"}]
samples: samples/
"""
    )
    assert found.python == "3.11"
    assert found.resources.memory == 2**30
    assert found.env == {"MODEL_SIZE": "small", "DEBUG": "true", "N": "3"}
    assert found.samples == "samples"
    assert found.models[0].source == "s3://models/x.onnx"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colour: red", "colour: unknown key"),
        ("resources: {ram: 1}", "resources.ram: unknown key"),
        ("name: Not_A_Label", "name"),
        ("name: ../other", "name"),
        ("timeout: soon", "timeout: .*number"),
        ("concurrency: [1]", "concurrency: .*integer"),
        ("env: [A=1]", "env: .*dictionary"),
        ("entry: a:b\ncommand: [x]", "either entry or command"),
        ("timeout: true", "timeout: true and false say nothing here"),
        ("resources: {gpu: true}", r"resources\.gpu: true and false"),
        ("resources: {cpu: .inf}", r"resources\.cpu: .*finite"),
        ("resources: {memory: 99999999999Ti}", r"resources\.memory: .*less than or equal"),
        ("concurrency: 65536", "concurrency: .*less than or equal to 65535"),
        ("queue: 99999999999999999999", "queue: .*less than or equal"),
        ("timeout: " + "9" * 5000, r"ValueError: .*4300 digits.*algodock\.yaml"),
        ("a: " + "[" * 3000, r"RecursionError: .*algodock\.yaml"),
        ("port: 80", "port"),
        ("port: 9000\ninstances: 2", "one instance"),
        ("timeout: 0", "timeout"),
        ("instances: 0", "instances"),
        ("health: health", "health"),
        ("env: {PORT: 1}", "PORT is set by the platform"),
        ("env: {ALGODOCK_TOKEN: x}", "set by the platform"),
        ('env: {A: "a\\0"}', "A holds a zero byte"),
        ("env: {'A B': x}", "no name of an environment variable"),
        ('env: {"A\\n": x}', "no name of an environment variable"),
        ("resources: {memory: lots}", "no size"),
        ("samples: ../..", "no path inside"),
        ("models: [{path: /etc/x, from: 's3://a/b'}]", "no path inside"),
        ("models: [{path: x, from: 'file:///etc/passwd'}]", "models.0.from: 'file:///etc/passwd' is none of s3://"),
        ("models: [{path: x, from: 's3://bundles/other/1.tar.gz'}]", "from nowhere else in the object store"),
        ("models: [{path: x, from: 's3://models/../bundles/x'}]", "from nowhere else in the object store"),
        ("models: [{path: x, from: 's3://models//x'}]", "from nowhere else in the object store"),
        ("models: [{path: x, from: 's3://models/'}]", "from nowhere else in the object store"),
        ("models: [{path: x, from: 'https://host/x'}]", "needs its sha256"),
        (f"models: [{{path: x, from: 'https://me:pw@host/x', sha256: {'a' * 64}}}]", "no user or password"),
        (f"models: [{{path: x, from: 'https://', sha256: {'a' * 64}}}]", "has no host"),
        ("models: [{path: x, from: 'hf://owner'}]", "is no hf://owner/name"),
        ("models: [{path: x, from: 'hf://owner/name@../x'}]", "is no hf://owner/name"),
        ("models: [{path: x, from: 'hf://owner/name/../../x'}]", "no path inside"),
        (f"models: [{{path: x, from: 'hf://owner/name', sha256: {'a' * 64}}}]", "that of one file"),
        ("models: [{path: a, from: 's3://models/a'}, {path: a/b, from: 's3://models/b'}]", "place of another model"),
        ("runtime: openai", "needs `openai:"),
        ("openai: {endpoint: 'http://h/v1', model: m}", "needs `openai:"),
        ("runtime: openai\nopenai: {endpoint: 'ftp://h/v1', model: m}", "openai.endpoint: it must be an http or https"),
        ("runtime: openai\nopenai: {endpoint: 'http:///v1', model: m}", "openai.endpoint: it must be an http or https"),
        ("runtime: openai\nopenai: {endpoint: 'http://u:p@h/v1', model: m}", "no user, password, query"),
        ("runtime: openai\nopenai: {endpoint: 'http://h/v1?key=1', model: m}", "no user, password, query"),
        ("runtime: openai\nopenai: {endpoint: 'http://h:x/v1', model: m}", "openai.endpoint"),
        ("runtime: openai\nopenai: {endpoint: 'http://h/v1', model: m, secret: sk-123}", "it names a secret"),
        ("runtime: openai\nentry: a:b\nopenai: {endpoint: 'http://h/v1', model: m}", "has no code"),
        ("- a list", "must be a mapping"),
        ("a: [1\nb: 2", "YAMLError: .* line 2"),
        ("!!python/object/apply:os.system [id]", "YAMLError"),
    ],
)
def test_what_is_wrong_is_said_by_its_key(text: str, said: str) -> None:
    with pytest.raises(ManifestInvalid, match=said):
        parse_manifest(text.encode())


def test_a_huge_manifest_is_not_read() -> None:
    with pytest.raises(ManifestInvalid, match="larger than"):
        parse_manifest(b"#" * 100_000)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("s3://models/a/b.onnx", StoreObject("models/a/b.onnx")),
        ("https://example.com:8443/x?y=1", Link("https://example.com:8443/x?y=1")),
        ("hf://owner/na.me", HubModel("hf", "owner/na.me", "main")),
        ("hf://owner/name@v1/onnx/model.onnx", HubModel("hf", "owner/name", "v1", "onnx/model.onnx")),
        ("modelscope://owner/name/model.bin", HubModel("modelscope", "owner/name", "master", "model.bin")),
    ],
)
def test_a_models_source_is_read_as_its_own_kind(text: str, found: object) -> None:
    assert parse_source(text) == found
