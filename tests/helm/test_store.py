"""Stores of bundles, Redis, API keys and state."""

from tests.helm.rendering import (
    FETCH,
    MATRIX,
    NAME,
    REDIS,
    Object,
    config,
    merged,
    of_kind,
    pod_templates,
    service_container,
    service_pod,
)


def mounts(container: Object) -> dict[str, Object]:
    return {m["mountPath"]: m for m in container["volumeMounts"]}


def volumes(pod: Object) -> dict[str, Object]:
    return {v["name"]: v for v in pod["volumes"]}


def variables(container: Object) -> dict[str, Object]:
    return {v["name"]: v for v in container.get("env", [])}


def test_a_volume_is_mounted_read_only() -> None:
    assert config()["DREPMREC_STORE"] == "/store"
    assert mounts(service_container())["/store"]["readOnly"] is True
    claim = volumes(service_pod())["store"]["persistentVolumeClaim"]["claimName"]
    made = of_kind("PersistentVolumeClaim")[claim]
    assert made["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert made["spec"]["accessModes"] == ["ReadWriteMany"]


def test_an_existing_claim_is_taken() -> None:
    values = MATRIX["existing claim"]
    assert volumes(service_pod(values))["store"]["persistentVolumeClaim"]["claimName"] == "models"
    assert of_kind("PersistentVolumeClaim", values) == {}


def test_an_object_store_has_a_cache_and_credentials_of_a_secret() -> None:
    values = MATRIX["object store"]
    container = service_container(values)
    assert config(values)["DREPMREC_STORE"] == "gs://models/shop"
    assert config(values)["DREPMREC_CACHE"] == "/cache"
    assert "readOnly" not in mounts(container)["/cache"]
    assert volumes(service_pod(values))["cache"]["emptyDir"] == {"sizeLimit": "20Gi"}
    assert "/store" not in mounts(container)
    assert {"secretRef": {"name": "reader"}} in container["envFrom"]
    jobs = [p for n, p in pod_templates(values).items() if "refresh" in n or "training" in n]
    assert len(jobs) == 2
    for job in jobs:
        [container] = job["spec"]["containers"]
        assert container["envFrom"][-1] == {"secretRef": {"name": "writer"}}
        assert container["args"][container["args"].index("--store") + 1] == "gs://models/shop"


def test_jobs_write_with_the_readers_secret_where_they_have_none_of_their_own() -> None:
    values = merged(MATRIX["object store"], {"jobs": {"storeSecret": ""}})
    [container] = pod_templates(values)[f"{NAME}-refresh"]["spec"]["containers"]
    assert container["envFrom"][-1] == {"secretRef": {"name": "reader"}}


def test_a_bundle_is_fetched_before_the_service_starts_and_the_service_has_no_credentials() -> None:
    values = MATRIX["fetched from an object store"]
    pod = service_pod(values)
    [fetch], [service] = pod["initContainers"], pod["containers"]
    assert fetch["image"] == service["image"]
    assert fetch["command"][-2:] == ["gs://models/shop", "/store"]
    assert fetch["args"] == ["--version", "20260314T091500Z-5f0c2a71"]
    assert fetch["envFrom"] == [{"secretRef": {"name": "reader"}}]
    assert service["envFrom"] == [{"configMapRef": {"name": NAME}}]
    assert config(values)["DREPMREC_STORE"] == "/store"
    assert "DREPMREC_CACHE" not in config(values)
    assert mounts(fetch)["/store"]["name"] == mounts(service)["/store"]["name"] == "fetched"
    assert mounts(service)["/store"]["readOnly"] is True
    assert "readOnly" not in mounts(fetch)["/store"]
    assert "emptyDir" in volumes(pod)["fetched"]


def test_a_bundle_is_fetched_from_a_volume() -> None:
    pod = service_pod(MATRIX["fetched from a volume"])
    [fetch], [service] = pod["initContainers"], pod["containers"]
    assert fetch["command"][-2:] == ["/source", "/store"]
    assert mounts(fetch)["/source"] == {
        "name": "store",
        "mountPath": "/source",
        "subPath": "shop",
        "readOnly": True,
    }
    assert "/source" not in mounts(service)
    live = service_pod(merged(FETCH, {"store": {"fetch": {"version": ""}}}))
    assert "args" not in live["initContainers"][0]


def test_every_mount_has_its_volume_and_every_pod_a_tmp_to_write_to() -> None:
    for values in MATRIX.values():
        for name, template in pod_templates(values).items():
            pod = template["spec"]
            known = set(volumes(pod)) if "volumes" in pod else set()
            known |= {"data"} if name == f"{NAME}-redis" else set()
            used = set()
            for container in pod["containers"] + pod.get("initContainers", []):
                used |= {m["name"] for m in container.get("volumeMounts", [])}
                if name not in (f"{NAME}-redis", f"{NAME}-test"):
                    assert "readOnly" not in mounts(container)["/tmp"]
            assert used == known, name


def test_redis_by_url_by_secret_and_bundled() -> None:
    url = {"redis": {"url": "redis://redis.data:6379/0"}}
    assert variables(service_container(url))["DREPMREC_REDIS_URL"]["value"] == url["redis"]["url"]
    secret = {"redis": {"existingSecret": {"name": "cache", "key": "uri"}}}
    found = variables(service_container(secret))["DREPMREC_REDIS_URL"]
    assert found["valueFrom"] == {"secretKeyRef": {"name": "cache", "key": "uri"}}
    bundled = variables(service_container(REDIS))["DREPMREC_REDIS_URL"]["value"]
    assert bundled == f"redis://{NAME}-redis:6379/0"
    assert f"{NAME}-redis" in of_kind("Service", REDIS)
    assert "env" not in service_container()
    assert set(variables(service_container(url))) == {"DREPMREC_REDIS_URL"}


def test_redis_cluster_and_sentinel() -> None:
    cluster = variables(service_container(MATRIX["Redis Cluster"]))
    assert cluster["DREPMREC_REDIS_CLUSTER"]["value"] == "true"
    assert "DREPMREC_REDIS_SENTINEL" not in cluster
    sentinel = variables(service_container(MATRIX["Redis behind Sentinels"]))
    assert sentinel["DREPMREC_REDIS_SENTINEL"]["value"] == "shop"
    assert sentinel["DREPMREC_REDIS_URL"]["valueFrom"]["secretKeyRef"]["name"] == "cache"


def test_the_bundled_redis_is_an_official_image_that_keeps_its_data() -> None:
    spec = of_kind("StatefulSet", REDIS)[f"{NAME}-redis"]["spec"]
    [container] = spec["template"]["spec"]["containers"]
    assert container["image"] == "valkey/valkey:8.1-alpine"
    assert container["args"][:2] == ["--appendonly", "yes"]
    # Keys without a time to live, above all events, are never evicted.
    assert container["args"][-1].startswith("volatile-")
    [claim] = spec["volumeClaimTemplates"]
    assert mounts(container)["/data"]["name"] == claim["metadata"]["name"]
    digest = f"sha256:{'0f' * 32}"
    pinned = merged(REDIS, {"redis": {"bundled": {"image": {"digest": digest}}}})
    [container] = pod_templates(pinned)[f"{NAME}-redis"]["spec"]["containers"]
    assert container["image"] == f"valkey/valkey@{digest}"


def test_keys_are_a_file_of_a_secret() -> None:
    values = MATRIX["API keys"]
    assert config(values)["DREPMREC_KEYS"] == "/etc/drepmrec/keys/keys.json"
    assert mounts(service_container(values))["/etc/drepmrec/keys"]["readOnly"] is True
    assert volumes(service_pod(values))["keys"]["secret"]["secretName"] == "keys"
    assert "DREPMREC_KEYS" not in config()


def test_state_is_a_file_on_a_claim() -> None:
    values = MATRIX["state in a file"]
    assert config(values)["DREPMREC_STATE"] == "/state/state.sqlite3"
    assert "readOnly" not in mounts(service_container(values))["/state"]
    claim = volumes(service_pod(values))["state"]["persistentVolumeClaim"]
    assert claim == {"claimName": "events"}


def test_a_refresh_keeps_copies_and_unfinished_work_on_a_claim() -> None:
    pod = pod_templates(MATRIX["workload identity"])[f"{NAME}-refresh"]["spec"]
    [container] = pod["containers"]
    assert container["args"][container["args"].index("--cache") + 1] == "/cache"
    assert "readOnly" not in mounts(container)["/cache"]
    assert volumes(pod)["cache"]["persistentVolumeClaim"] == {"claimName": "copies"}


def test_the_chart_makes_no_secret() -> None:
    for values in MATRIX.values():
        assert of_kind("Secret", values) == {}
