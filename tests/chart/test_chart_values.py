"""Values: what is refused, and what follows from the service."""

import re
import runpy

import helm_python as helm
import pytest
import yaml
from chart_rendering import (
    AUTOSCALING,
    CHART,
    EXAMPLES,
    INGRESS,
    MATRIX,
    REDIS,
    ROOT,
    config,
    manifests,
    merged,
    objects,
)

from service.settings import REDIS_SCHEMES, Settings
from training.commands import app as training

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "chart.py"))
NO_CLIENTS = {"networkPolicy": {"clients": []}}

WRONG = {
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
    # Values that do not fit each other.
    "store.url: is needed": {"store": {"kind": "url"}},
    "store.kind: must be url": {"store": {"url": "s3://models"}},
    "store.fetch.enabled": {"store": {"fetch": {"version": "20260314T091500Z-5f0c2a71"}}},
    "redis: give one of": merged(REDIS, {"redis": {"url": "redis://redis.data"}}),
    "redis.url: user and password": {"redis": {"url": "redis://:secret@redis.data"}},
    "redis.cluster, redis.sentinel": {"redis": {"cluster": True}},
    "redis.sentinel: a Redis Cluster": {
        "redis": {"url": "redis://redis.data", "cluster": True, "sentinel": "shop"}
    },
    "state.existingClaim: a SQLite file": {"state": {"existingClaim": "events"}},
    "state.existingClaim: with Redis": merged(
        REDIS, {"replicaCount": 1, "state": {"existingClaim": "events"}}
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
def test_wrong_values_are_refused_by_name(named, values):
    with pytest.raises(helm.HelmError) as refusal:
        objects(values)
    assert named in str(refusal.value)


def test_no_map_of_the_schema_takes_unknown_keys_unless_its_keys_are_free():
    def check(schema, path):
        if schema.get("properties"):
            assert schema["additionalProperties"] is not None, path
            assert schema["additionalProperties"] is not True, path
        for key, inner in schema.get("properties", {}).items():
            check(inner, f"{path}.{key}")
        for key, inner in schema.get("$defs", {}).items():
            check(inner, f"{path}.$defs.{key}")

    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    check(schema, "")
    # And each value that there is has its place in it.
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(schema["properties"]) == set(values) | {"global"}


def test_every_setting_of_the_service_is_a_value_of_the_chart():
    path = CHART / "values.schema.json"
    assert SCRIPT["schema"](path.read_text()) == path.read_text(), "make chart"
    schema = yaml.safe_load(path.read_text())["properties"]["config"]["properties"]
    settings = Settings.model_json_schema()["properties"]
    set_by_the_chart = SCRIPT["SET_BY_THE_CHART"]
    assert set(settings) == set(schema) | (set_by_the_chart & set(settings))
    # What is secret does not belong into a ConfigMap.
    secret = {name for name in settings if "password" in str(settings[name])}
    assert secret <= set_by_the_chart


def test_what_the_chart_sets_and_runs_is_there_or_the_page_says_that_it_is_not():
    page = (ROOT / "docs" / "operations.md").read_text()
    waiting = re.search(r"^\*\*Values that wait.*?^$", page, re.M | re.S)
    text = re.sub(r"\([^)]*\)", "", waiting[0]) if waiting else ""
    settings = SCRIPT["SET_BY_THE_CHART"] - set(Settings.model_fields)
    commands = {"refresh", "fit"} - {
        each.callback.__name__ for each in training.registered_commands
    }
    missing = settings | {f"python -m training {name}" for name in commands}
    assert set(re.findall(r"`([^`]+)`", text)) == missing


def test_the_service_understands_what_the_chart_says(monkeypatch):
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
    settings = Settings()
    assert settings.model_dump(mode="json", include=set(given)) == given
    assert (settings.host, settings.port, settings.threads) == ("0.0.0.0", 8000, 1)
    assert str(settings.store) == "/store"


@pytest.mark.parametrize("scheme", REDIS_SCHEMES)
def test_the_chart_takes_what_the_service_takes_for_a_redis(scheme):
    assert objects({"redis": {"url": f"{scheme}://redis.data"}})


def test_the_readme_has_the_values_that_there_are():
    path = CHART / "README.md"
    values = (CHART / "values.yaml").read_text()
    assert SCRIPT["readme"](path.read_text(), values) == path.read_text(), "make chart"
    defaults = yaml.safe_load(values)
    for name, default, text in SCRIPT["documented"](values):
        found = defaults
        for key in name.split("."):
            found = found[key]
        assert found == default
        assert text.endswith(".")


def test_a_value_without_a_description_is_found():
    with pytest.raises(ValueError, match=r"store\.kind has no comment"):
        list(SCRIPT["documented"]("store:\n  # no description\n  kind: volume\n"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_named_in_the_readme(name):
    assert f"(examples/{name}.yaml)" in (CHART / "README.md").read_text()


def notes(values):
    return manifests(values)["drepmrec/templates/NOTES.txt"]


def test_notes_say_what_to_do_next_and_what_is_dangerous():
    assert "helm test shop --namespace live" in notes({})
    assert "WARNING" not in notes({}) + notes(MATRIX["production"])
    assert "asks for no API key" in notes(INGRESS)
    assert "bundled Redis" in notes(REDIS)
