"""Replacement of the pods when one of their Secrets changes, with a stand-in for the API server."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import helm_python as helm
import pytest

from tests.helm.rendering import NAME, NAMESPACE, RELEASE, Object, chart, parsed

VALUES = {
    "apiKeys": {"existingSecret": {"name": "keys"}},
    "redis": {"existingSecret": {"name": "cache"}},
}


class SecretsServer(ThreadingHTTPServer):
    """The part of a Kubernetes API server that Helm needs to look up Secrets."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.versions = {"keys": "1", "cache": "1"}
        self.asked: list[str] = []

    def answer(self, path: str) -> Object | None:
        secret = path.removeprefix(f"/api/v1/namespaces/{NAMESPACE}/secrets/")
        if secret in self.versions:
            self.asked.append(secret)
            metadata = {"name": secret, "resourceVersion": self.versions[secret]}
            data = {"keys.json": "c2VjcmV0"}
            return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
        if path == "/api/v1":
            secrets = {"name": "secrets", "namespaced": True, "kind": "Secret", "verbs": ["get"]}
            return {"kind": "APIResourceList", "groupVersion": "v1", "resources": [secrets]}
        return None


class _Handler(BaseHTTPRequestHandler):
    server: SecretsServer

    def do_GET(self) -> None:
        found = self.server.answer(self.path.partition("?")[0])
        missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404}
        body = json.dumps(found or missing | {"reason": "NotFound"}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def cluster() -> Iterator[SecretsServer]:
    with SecretsServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def annotations(cluster: SecretsServer, values: Object) -> dict[str, str]:
    url = f"http://127.0.0.1:{cluster.server_address[1]}"
    with helm.Config(kube_apiserver=url, namespace=NAMESPACE) as config:
        texts = config.render(chart(), values, name=RELEASE, namespace=NAMESPACE)
    [deployment] = parsed(texts["drepmrec/templates/deployment.yaml"])
    assert deployment["metadata"]["name"] == NAME
    found: dict[str, str] = deployment["spec"]["template"]["metadata"]["annotations"]
    return found


def test_a_rotated_secret_replaces_the_pods(cluster: SecretsServer) -> None:
    before = annotations(cluster, VALUES)
    assert set(cluster.asked) == {"keys", "cache"}
    assert annotations(cluster, VALUES) == before
    for name in ("keys", "cache"):
        cluster.versions[name] = "2"
        after = annotations(cluster, VALUES)
        assert after["checksum/secrets"] != before["checksum/secrets"]
        assert after["checksum/config"] == before["checksum/config"]
        before = after


def test_a_secret_that_is_not_there_yet_is_no_error(cluster: SecretsServer) -> None:
    with_it = annotations(cluster, VALUES)
    del cluster.versions["keys"]
    without = annotations(cluster, VALUES)
    assert without["checksum/secrets"] != with_it["checksum/secrets"]


def test_secrets_that_are_not_used_are_not_asked_for(cluster: SecretsServer) -> None:
    annotations(cluster, {})
    assert cluster.asked == []
