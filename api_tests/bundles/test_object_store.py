"""The service on an object store: moto's S3, as a process."""

from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from bundle.store.store import BundleStore
from tests.support.data.bundles import make_contents
from tests.support.running.object_stores import StoreBackend, s3_environment, skip_lease_settling
from tests.support.running.processes import only_line, run_service
from tests.support.running.servers import RunningService
from tests.support.running.service_fixtures import Published, StartService
from tests.support.waiting import DEADLINE, wait_until

SECRET = "s3cr3t-pa55"
Publish = Callable[[int], Published]


@pytest.fixture
def publish(s3_backend: StoreBackend, monkeypatch: pytest.MonkeyPatch) -> Publish:
    skip_lease_settling(monkeypatch)

    def one(seed: int) -> Published:
        contents = make_contents(300, 250, 16, rng=np.random.default_rng(seed))
        store = BundleStore(s3_backend.url, s3_backend.cache.with_name("publisher"))
        return Published(Path(s3_backend.url), contents, store.publish(contents))

    return one


def running_versions(service: RunningService) -> set[str]:
    # Each connection may reach another worker.
    return {
        httpx.get(f"{service.url}/readyz", timeout=DEADLINE).json()["bundle_version"]
        for _ in range(12)
    }


@pytest.mark.slow
def test_workers_share_one_copy_and_load_the_live_bundle(
    start: StartService, publish: Publish, s3_backend: StoreBackend
) -> None:
    first = publish(1)
    service = start(store=s3_backend.url, cache=s3_backend.cache, workers=2, reload_poll=0.1)
    first.check(service.get("/recommend/user-5").json())
    assert s3_backend.copies() == [first.version]
    settings = service.get("/info").json()["settings"]
    assert settings["store"] == s3_backend.url
    assert settings["cache"] == str(s3_backend.cache)
    second = publish(2)
    wait_until(lambda: running_versions(service) == {second.version}, "both workers")
    second.check(service.get("/recommend/user-5").json())
    BundleStore(s3_backend.url, s3_backend.cache).rollback(first.version)
    wait_until(lambda: running_versions(service) == {first.version}, "the rollback")
    assert service.terminate() == 0
    assert "Traceback" not in service.log.read_text()


@pytest.mark.slow
def test_a_service_without_state_warns_and_refuses_events(
    start: StartService, publish: Publish, s3_backend: StoreBackend, tmp_path: Path
) -> None:
    publish(1)
    service = start(store=s3_backend.url, cache=s3_backend.cache)
    body = {"events": [{"user_id": "user-1", "item_id": "item-1"}]}
    assert service.post("/events", json=body).status_code == 503
    [event] = service.events("no_state")
    assert "keeps no state" in event["reason"]
    kept = start(store=s3_backend.url, cache=s3_backend.cache, state=tmp_path / "state.sqlite3")
    assert kept.post("/events", json=body).status_code == 202
    assert not kept.events("no_state")


@pytest.mark.slow
def test_a_store_that_fails_is_read_again(
    start: StartService, publish: Publish, s3_backend: StoreBackend
) -> None:
    """A damaged bundle is refused for good; one that cannot be read is tried again."""
    first = publish(1)
    service = start(store=s3_backend.url, cache=s3_backend.cache, reload_poll=0.1)
    second = publish(2)
    wait_until(lambda: running_versions(service) == {second.version}, "the second")
    manifest = f"bundles/{first.version}/manifest.json"
    raw = s3_backend.read(manifest)
    s3_backend.remove(manifest)
    for copy in s3_backend.cache.glob(f"*/bundles/{first.version}/*"):
        copy.unlink()
    s3_backend.write("CURRENT", first.version.encode())
    wait_until(lambda: service.metric("bundles_refused_total", reason="store") > 1, "refusals")
    assert running_versions(service) == {second.version}
    [refused] = service.events("bundle_refused")
    assert s3_backend.url in refused["reason"]
    s3_backend.write(manifest, raw)
    wait_until(lambda: running_versions(service) == {first.version}, "the first")
    first.check(service.get("/recommend/user-5").json())


@pytest.mark.slow
def test_a_damaged_bundle_is_refused_and_its_object_named(
    start: StartService, publish: Publish, s3_backend: StoreBackend
) -> None:
    first = publish(1)
    service = start(store=s3_backend.url, cache=s3_backend.cache, reload_poll=0)
    second = publish(2)
    name = f"bundles/{second.version}/item_vectors.npy"
    s3_backend.write(name, s3_backend.read(name)[:-1])
    refused = service.post("/admin/reload")
    assert refused.status_code == 409
    assert f"{second.version}: cannot be served (damaged)" in refused.json()["error"]["message"]
    [reason] = [event["reason"] for event in service.events("bundle_refused")]
    assert f"{s3_backend.url}/{name}: has " in reason
    assert service.metric("bundles_refused_total", reason="damaged") == 1
    first.check(service.get("/recommend/user-5").json())


@pytest.mark.slow
def test_secrets_are_in_no_output(
    start: StartService, publish: Publish, s3_backend: StoreBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(1)
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, SECRET)
    service = start(
        store=s3_backend.url, cache=s3_backend.cache, log_level="debug", reload_poll=0.1
    )
    service.get("/recommend/user-1")
    s3_backend.write("CURRENT", b"20200101T000000Z-00000000")
    wait_until(lambda: service.events("bundle_refused"), "the refusal")
    texts = service.get("/info").text, service.get("/metrics").text, service.log.read_text()
    assert SECRET not in "".join(texts)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        (f"s3://KEY:{SECRET}@models/shop", 2, "--store (DREPMREC_STORE): s3://models/shop: cred"),
        (f"az://models/shop?sig={SECRET}", 2, "--store (DREPMREC_STORE): az://models/shop: cred"),
        ("sftp://host/shop", 2, "not a store; use a local directory or one of s3://"),
        ("s3://models/empty", 1, "s3://models/empty: nothing is published in this store"),
        ("s3://nowhere/shop", 1, "s3://nowhere/shop: there is no bucket 'nowhere'"),
    ],
)
def test_stores_that_cannot_be_served(
    s3_backend: StoreBackend, url: str, code: int, said: str
) -> None:
    assert s3_backend.files.exists("models")
    found, output = run_service("--store", url, "--port", "0")
    assert found == code, output
    assert said in only_line(output)
    assert SECRET not in output


@pytest.mark.slow
def test_an_endpoint_where_nothing_listens(tmp_path: Path) -> None:
    code, output = run_service(
        "--store", "s3://models/shop", "--cache", str(tmp_path), **s3_environment(1, SECRET)
    )
    assert code == 1
    assert "s3://models/shop/CURRENT: Could not connect" in only_line(output)
    assert SECRET not in output
