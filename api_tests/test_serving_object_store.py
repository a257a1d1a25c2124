"""The service on an object store: moto's S3, as a process."""

from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from bundle_builders import make_contents
from conftest import Published, StartService
from object_stores import ObjectPlace, no_settling, s3_environment
from servers import RunningService, wait_until
from test_start import complaint, run

from bundle.store import BundleStore

SECRET = "s3cr3t-pa55"
Publish = Callable[[int], Published]


@pytest.fixture
def publish(s3_place: ObjectPlace, monkeypatch: pytest.MonkeyPatch) -> Publish:
    no_settling(monkeypatch)

    def one(seed: int) -> Published:
        contents = make_contents(300, 250, 16, rng=np.random.default_rng(seed))
        store = BundleStore(s3_place.url, s3_place.cache.with_name("publisher"))
        return Published(Path(s3_place.url), contents, store.publish(contents))

    return one


def running_versions(service: RunningService) -> set[str]:
    # Each connection may reach another worker.
    return {httpx.get(f"{service.url}/readyz").json()["bundle_version"] for _ in range(12)}


def test_workers_share_one_copy_and_follow_the_pointer(
    start: StartService, publish: Publish, s3_place: ObjectPlace
) -> None:
    first = publish(1)
    service = start(store=s3_place.url, cache=s3_place.cache, workers=2, reload_poll=0.1)
    first.check(service.get("/recommend/user-5").json())
    assert s3_place.copies() == [first.version]
    settings = service.get("/info").json()["settings"]
    assert settings["store"] == s3_place.url
    assert settings["cache"] == str(s3_place.cache)
    second = publish(2)
    wait_until(lambda: running_versions(service) == {second.version}, "both workers")
    second.check(service.get("/recommend/user-5").json())
    BundleStore(s3_place.url, s3_place.cache).rollback(first.version)
    wait_until(lambda: running_versions(service) == {first.version}, "the rollback")
    assert service.terminate() == 0
    assert "Traceback" not in service.log.read_text()


def test_what_keeps_no_state_says_so(
    start: StartService, publish: Publish, s3_place: ObjectPlace, tmp_path: Path
) -> None:
    publish(1)
    service = start(store=s3_place.url, cache=s3_place.cache)
    body = {"events": [{"user_id": "user-1", "item_id": "item-1"}]}
    assert service.post("/events", json=body).status_code == 503
    [event] = service.events("no_state")
    assert "keeps no state" in event["reason"]
    kept = start(store=s3_place.url, cache=s3_place.cache, state=tmp_path / "state.sqlite3")
    assert kept.post("/events", json=body).status_code == 202
    assert not kept.events("no_state")


def test_a_store_that_fails_for_a_while_is_asked_again(
    start: StartService, publish: Publish, s3_place: ObjectPlace
) -> None:
    """A bundle that is damaged is refused for good, one that cannot be had for now is not."""
    first = publish(1)
    service = start(store=s3_place.url, cache=s3_place.cache, reload_poll=0.1)
    second = publish(2)
    wait_until(lambda: running_versions(service) == {second.version}, "the second")
    manifest = f"bundles/{first.version}/manifest.json"
    raw = s3_place.read(manifest)
    s3_place.remove(manifest)
    for copy in s3_place.cache.glob(f"*/bundles/{first.version}/*"):
        copy.unlink()
    s3_place.write("CURRENT", first.version.encode())
    wait_until(lambda: service.metric("bundles_refused_total", reason="store") > 1, "refusals")
    assert running_versions(service) == {second.version}
    [refused] = service.events("bundle_refused")
    assert s3_place.url in refused["reason"]
    s3_place.write(manifest, raw)
    wait_until(lambda: running_versions(service) == {first.version}, "the first")
    first.check(service.get("/recommend/user-5").json())


def test_a_damaged_candidate_is_refused_and_its_object_named(
    start: StartService, publish: Publish, s3_place: ObjectPlace
) -> None:
    first = publish(1)
    service = start(store=s3_place.url, cache=s3_place.cache, reload_poll=0)
    second = publish(2)
    name = f"bundles/{second.version}/item_vectors.npy"
    s3_place.write(name, s3_place.read(name)[:-1])
    refused = service.post("/admin/reload")
    assert refused.status_code == 409
    assert f"{s3_place.url}/{name}: has " in refused.json()["error"]["message"]
    assert service.metric("bundles_refused_total", reason="damaged") == 1
    first.check(service.get("/recommend/user-5").json())


def test_secrets_stay_secret(
    start: StartService, publish: Publish, s3_place: ObjectPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(1)
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, SECRET)
    service = start(store=s3_place.url, cache=s3_place.cache, log_level="debug", reload_poll=0.1)
    service.get("/recommend/user-1")
    s3_place.write("CURRENT", b"20200101T000000Z-00000000")
    wait_until(lambda: service.events("bundle_refused"), "the refusal")
    texts = service.get("/info").text, service.get("/metrics").text, service.log.read_text()
    assert SECRET not in "".join(texts)


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        (f"s3://KEY:{SECRET}@models/shop", 2, "--store (DREPMREC_STORE): s3://models/shop: cred"),
        (f"az://models/shop?sig={SECRET}", 2, "--store (DREPMREC_STORE): az://models/shop: cred"),
        ("sftp://host/shop", 2, "a store is a local directory or one of s3://"),
        ("s3://models/empty", 1, "s3://models/empty: nothing is published in this store"),
        ("s3://nowhere/shop", 1, "s3://nowhere/shop: there is no bucket 'nowhere'"),
    ],
)
def test_stores_that_cannot_be_served(
    s3_place: ObjectPlace, url: str, code: int, said: str
) -> None:
    assert s3_place.files.exists("models")
    found, output = run("--store", url, "--port", "0")
    assert found == code, output
    assert said in complaint(output)
    assert SECRET not in output


def test_nobody_at_the_endpoint(tmp_path: Path) -> None:
    code, output = run(
        "--store", "s3://models/shop", "--cache", str(tmp_path), **s3_environment(1, SECRET)
    )
    assert code == 1
    assert "s3://models/shop/CURRENT: Could not connect" in complaint(output)
    assert SECRET not in output
