"""Values: refusal of wrong ones, and agreement with the service's settings and the README."""

import json
import runpy

import helm_python as helm
import pytest

from bundle.events.redis_url import REDIS_SCHEMES
from service.settings import Settings
from tests.helm.rendering import (
    AUTOSCALING,
    CHART,
    EXAMPLES,
    FETCH,
    INGRESS,
    KEYS,
    MATRIX,
    REDIS,
    REFRESH,
    Object,
    config,
    manifests,
    merged,
    objects,
    parsed,
)
from tests.support.paths import ROOT
from training.cli.main import COMMANDS

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "chart.py"))
NO_CLIENTS: Object = {"networkPolicy": {"clients": []}}
WITHOUT_KEYS: Object = {"apiKeys": {"existingSecret": {"name": ""}}}

WRONG: dict[str, Object] = {
    # An unknown key, at every depth.
    "replicas": {"replicas": 3},
    "max_concurency": {"config": {"max_concurency": 64}},
    "readOnly": {"store": {"volume": {"readOnly": True}}},
    "/alerts": {"alerts": {"p99Millis": 250}},
    # A value of the wrong kind, or out of range.
    "/config/max_concurrency": {"config": {"max_concurrency": 0}},
    "/config/log_level": {"config": {"log_level": "loud"}},
    "/config/redis_timeout": {"config": {"redis_timeout": "fast"}},
    "/config": {"config": {"drain_seconds": None}},
    "/replicaCount": {"replicaCount": "three"},
    "/store/kind": {"store": {"kind": "bucket"}},
    "/store/url": {"store": {"url": "bucket/prefix"}},
    "/store/cacheSize": {"store": {"cacheSize": "20 GB"}},
    "/store/volume/accessModes/0": {"store": {"volume": {"accessModes": ["ReadWrite"]}}},
    "/redis/url": {"redis": {"url": "http://redis.data"}},
    "'redis://redis.data/x' does not": {"redis": {"url": "redis://redis.data/x"}},
    "'redis://redis.data#0' does not": {"redis": {"url": "redis://redis.data#0"}},
    "'unix://redis.data' does not": {"redis": {"url": "unix://redis.data"}},
    "/redis/bundled/image": {"redis": {"bundled": {"image": "valkey/valkey:8"}}},
    "/networkPolicy/dns": {"networkPolicy": {"dns": [{"podSelector": {}}]}},
    "/extraEnv/0": {"extraEnv": [{"value": "1"}]},
    "/store/volume/accessModes/1": {
        "store": {"volume": {"accessModes": ["ReadWriteMany", "ReadWriteOncePod"]}}
    },
    "/resources/limits/cpu": {"resources": {"limits": {"cpu": "two"}}},
    "/preStopSeconds": {"preStopSeconds": 0},
    "/podSecurity/runAsUser": {"podSecurity": {"runAsUser": 0}},
    "/podLabels": {"podLabels": {"app.kubernetes.io/component": "other"}},
    "/podDisruptionBudget/maxUnavailable": {"podDisruptionBudget": {"maxUnavailable": "half"}},
    "/publicPaths/0": {"publicPaths": ["recommend"]},
    "/image/service/digest": {"image": {"service": {"digest": "sha256:1234"}}},
    "/training/dataPath": {"training": {"dataPath": "../secrets"}},
    "/refresh/schedule": {"refresh": {"schedule": ""}},
    "/alerts/errorRatio": {"alerts": {"errorRatio": 5}},
    "/apiKeys/existingSecret/name": {"apiKeys": {"existingSecret": {"name": "My Keys"}}},
    # Values that contradict each other.
    "store.url: required": {"store": {"kind": "url"}},
    "store.kind: must be url": {"store": {"url": "s3://models"}},
    "store.fetch.enabled": {"store": {"fetch": {"version": "20260314T091500Z-5f0c2a71"}}},
    "redis: set only one of": merged(REDIS, {"redis": {"url": "redis://redis.data"}}),
    "redis.url: must not contain": {"redis": {"url": "redis://:secret@redis.data"}},
    "redis.url: must not contain a user": {"redis": {"url": "redis://redis.data?password=x"}},
    "redis.url: a Unix socket": {"redis": {"url": "unix:///redis.sock", "sentinel": "shop"}},
    "redis.url: names several addresses": {"redis": {"url": "redis://one,two"}},
    "redis.url: names a database": {"redis": {"url": "redis://redis.data/1", "cluster": True}},
    "redis.tls.existingSecret": {
        "redis": {"url": "redis://redis.data", "tls": {"existingSecret": "certificates"}}
    },
    "redis.cluster, redis.sentinel": {"redis": {"cluster": True}},
    "redis.sentinel: cannot be combined": {
        "redis": {"url": "redis://redis.data", "cluster": True, "sentinel": "shop"}
    },
    "state.existingClaim: a SQLite file": {"state": {"existingClaim": "events"}},
    "state.existingClaim: cannot be combined with Redis": merged(
        REDIS, {"replicaCount": 1, "state": {"existingClaim": "events"}}
    ),
    "config.shadow_version": merged(FETCH, {"config": {"shadow_version": "20260314T091500Z-5"}}),
    "store.volume.accessModes": {"store": {"volume": {"accessModes": ["ReadOnlyMany"]}}},
    "refresh.enabled: there is nothing": {"refresh": {"enabled": True}},
    "refresh.cacheClaim": merged(REFRESH, {"refresh": {"cacheClaim": "copies"}}),
    "refresh.args: --events replaces": merged(
        REDIS, {"refresh": {"enabled": True, "args": ["--events", "/data/events"]}}
    ),
    "training.args: --store": {"training": {"args": ["--store=/elsewhere"]}},
    "extraEnv: DREPMREC_STATE": {"extraEnv": [{"name": "DREPMREC_STATE", "value": "/tmp/x"}]},
    "apiKeys.existingSecret.name: required": merged(INGRESS, WITHOUT_KEYS),
    "apiKeys.existingSecret.name: required if": {"service": {"type": "LoadBalancer"}},
    "config.open_metrics: false requires": {"config": {"open_metrics": False}},
    "metrics.serviceMonitor.existingSecret.name": merged(
        KEYS,
        {
            "config": {"open_metrics": False},
            "metrics": {"serviceMonitor": {"enabled": True}},
            "networkPolicy": {"monitoring": [{"podSelector": {}}]},
        },
    ),
    "autoscaling.minReplicas": merged(AUTOSCALING, {"autoscaling": {"minReplicas": 11}}),
    "autoscaling.targetCPU, autoscaling.targetInFlight": {
        "autoscaling": {"enabled": True, "targetCPU": None}
    },
    "resources.requests.cpu": merged(AUTOSCALING, {"resources": {"requests": {"cpu": None}}}),
    "ingress.hosts": {"ingress": {"enabled": True}},
    "httpRoute.parentRefs": {"httpRoute": {"enabled": True}},
    "networkPolicy.clients": merged(INGRESS, NO_CLIENTS),
    "networkPolicy.monitoring": {"metrics": {"serviceMonitor": {"enabled": True}}},
    "training.dataClaim": {"training": {"enabled": True}},
}


@pytest.mark.parametrize(("named", "values"), WRONG.items(), ids=WRONG.keys())
def test_wrong_values_are_refused_by_name(named: str, values: Object) -> None:
    with pytest.raises(helm.HelmError) as refusal:
        objects(values)
    assert named in str(refusal.value)


def test_no_map_of_the_schema_takes_unknown_keys_unless_its_keys_are_free() -> None:
    def check(schema: Object, path: str) -> None:
        if schema.get("properties"):
            assert schema["additionalProperties"] is not None, path
            assert schema["additionalProperties"] is not True, path
        for key, inner in schema.get("properties", {}).items():
            check(inner, f"{path}.{key}")
        for key, inner in schema.get("$defs", {}).items():
            check(inner, f"{path}.$defs.{key}")

    schema = json.loads((CHART / "values.schema.json").read_text())
    check(schema, "")
    # The schema has every value of values.yaml.
    [values] = parsed((CHART / "values.yaml").read_text())
    assert set(schema["properties"]) == set(values) | {"global"}


def test_settings_that_the_chart_derives_are_refused_as_variables() -> None:
    for name in SCRIPT["SET_BY_THE_CHART"]:
        with pytest.raises(helm.HelmError, match="is set by the chart"):
            objects({"extraEnv": [{"name": f"DREPMREC_{name.upper()}", "value": "x"}]})


def test_every_setting_of_the_service_is_a_value_of_the_chart() -> None:
    path = CHART / "values.schema.json"
    assert SCRIPT["schema"](path.read_text()) == path.read_text(), "make chart"
    schema = json.loads(path.read_text())["properties"]["config"]["properties"]
    settings = Settings.model_json_schema()["properties"]
    set_by_the_chart = SCRIPT["SET_BY_THE_CHART"]
    assert set(settings) == set(schema) | (set_by_the_chart & set(settings))
    # Secrets do not belong in a ConfigMap.
    secret = {name for name in settings if "password" in str(settings[name])}
    assert secret <= set_by_the_chart


def test_the_settings_and_commands_that_the_chart_uses_exist() -> None:
    assert set(Settings.model_fields) >= SCRIPT["SET_BY_THE_CHART"]
    commands = {command.name for command in COMMANDS}
    assert commands >= {"refresh", "fit"}


def test_the_service_understands_what_the_chart_says(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "max_concurrency": 64,
        "max_body": 10_000_000,
        "redis_timeout": 0.02,
        "log_level": "debug",
        "workers": 2,
        "event_weights": {"purchase": 3, "dislike": -1.5},
        "cors_origins": ["https://shop.example", "https://m.shop.example"],
        "docs": False,
    }
    for name, value in config({"config": given}).items():
        monkeypatch.setenv(name, value)
    settings = Settings()  # type: ignore[call-arg]  # The variables give the store.
    assert settings.model_dump(mode="json", include=set(given)) == given
    assert (settings.host, settings.port, settings.threads) == ("0.0.0.0", 8000, 1)
    assert str(settings.store) == "/store"


@pytest.mark.parametrize("scheme", REDIS_SCHEMES)
def test_the_chart_takes_what_the_service_takes_for_a_redis(scheme: str) -> None:
    place = "/run/redis.sock" if scheme == "unix" else "redis.data"
    assert objects({"redis": {"url": f"{scheme}://{place}"}})


def test_the_readme_has_the_values_that_there_are() -> None:
    path = CHART / "README.md"
    values = (CHART / "values.yaml").read_text()
    assert SCRIPT["readme"](path.read_text(), values) == path.read_text(), "make chart"
    [defaults] = parsed(values)
    for name, default, text in SCRIPT["documented"](values):
        found = defaults
        for key in name.split("."):
            found = found[key]
        assert found == default
        assert text.endswith(".")


def test_a_value_without_a_description_is_found() -> None:
    with pytest.raises(ValueError, match=r"store\.kind has no comment"):
        list(SCRIPT["documented"]("store:\n  # no description\n  kind: volume\n"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_named_in_the_readme(name: str) -> None:
    assert f"(examples/{name}.yaml)" in (CHART / "README.md").read_text()


def notes(values: Object) -> str:
    return manifests(values)["drepmrec/templates/NOTES.txt"]


def test_notes_say_what_to_do_next_and_what_is_dangerous() -> None:
    assert "helm test shop --namespace live" in notes({})
    assert "WARNING" not in notes({}) + notes(MATRIX["production"])
    assert "requires no API key" in notes(MATRIX["open to everybody"])
    assert "bundled Redis" in notes(REDIS)
    assert "ReadWriteMany" in notes({})
    assert "ReadWriteMany" not in notes(MATRIX["existing claim"]) + notes(MATRIX["minimal"])


def test_a_target_of_cpu_that_a_pod_cannot_reach_is_named() -> None:
    large = {"resources": {"requests": {"cpu": "1500m"}}}
    assert "autoscaling.targetCPU is 1.05 cores" in notes(merged(AUTOSCALING, large))
    for change in ({"config": {"workers": 2}}, {"autoscaling": {"targetCPU": 60}}):
        assert "WARNING" not in notes(merged(AUTOSCALING, large, change))
    for values in MATRIX.values():
        assert "autoscaling.targetCPU is" not in notes(values)
