"""The chart, rendered by Helm itself, as objects."""

import copy
from functools import cache
from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

ROOT = Path(__file__).parents[1]
CHART = ROOT / "helm" / "drepmrec"
RELEASE, NAMESPACE = "shop", "live"
NAME = f"{RELEASE}-drepmrec"
EXAMPLES = {path.stem: path for path in sorted((CHART / "examples").glob("*.yaml"))}

Object = dict[str, Any]


def example(name: str) -> Object:
    """Values of an example."""
    return yaml.safe_load(EXAMPLES[name].read_text())


@cache
def chart() -> helm.Chart:
    return helm.Chart.load(CHART)


def manifests(values: Object | None = None, **options: Any) -> dict[str, str]:
    """Text by template."""
    return chart().render(values or {}, name=RELEASE, namespace=NAMESPACE, **options)


def objects(values: Object | None = None, **options: Any) -> list[Object]:
    texts = manifests(values, **options)
    documents = [yaml.safe_load_all(text) for path, text in texts.items() if path.endswith(".yaml")]
    return [found for document in documents for found in document if found]


def of_kind(kind: str, values: Object | None = None, **options: Any) -> dict[str, Object]:
    """Objects of a kind by name."""
    found = [each for each in objects(values, **options) if each["kind"] == kind]
    return {each["metadata"]["name"]: each for each in found}


def pod_templates(values: Object) -> dict[str, Object]:
    """All pods that the values make, as templates, by the name of what makes them."""
    found = {}
    for each in objects(values):
        spec = each.get("spec", {})
        if each["kind"] == "Pod":
            template = each
        elif each["kind"] == "CronJob":
            template = spec["jobTemplate"]["spec"]["template"]
        elif "template" in spec:
            template = spec["template"]
        else:
            continue
        found[each["metadata"]["name"]] = template
    return found


def deployment(values: Object | None = None, **options: Any) -> Object:
    return of_kind("Deployment", values, **options)[NAME]


def service_pod(values: Object | None = None) -> Object:
    return deployment(values)["spec"]["template"]["spec"]


def service_container(values: Object | None = None) -> Object:
    [container] = service_pod(values)["containers"]
    return container


def config(values: Object | None = None) -> dict[str, str]:
    """The service's variables of the ConfigMap."""
    return of_kind("ConfigMap", values)[NAME]["data"]


def merged(*layers: Object) -> Object:
    """Values of which the later ones win, as with several `--values`."""
    result: Object = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else copy.deepcopy(value)
    return result


REDIS = {"redis": {"bundled": {"enabled": True}}}
OBJECT_STORE = {"store": {"kind": "url", "url": "gs://models/shop"}}
FETCH = {"store": {"fetch": {"enabled": True, "version": "20260314T091500Z-5f0c2a71"}}}
REFRESH = {"refresh": {"enabled": True}}
TRAINING = {"training": {"enabled": True, "dataClaim": "interactions"}}
INGRESS = {
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "annotations": {"example.com/rate": "10"},
        "hosts": ["a.example.com", "b.example.com"],
        "tls": [{"secretName": "certificate", "hosts": ["a.example.com"]}],
    },
    "networkPolicy": {
        "clients": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "in"}}}]
    },
}
AUTOSCALING = {"autoscaling": {"enabled": True, "targetInFlight": 16}}

MATRIX: dict[str, Object] = {
    "defaults": {},
    **{name: example(name) for name in EXAMPLES},
    "bundled Redis": merged(REDIS, REFRESH),
    "external Redis": {"redis": {"url": "rediss://redis.data:6380/1"}},
    "Redis Cluster": {"redis": {"url": "redis://redis.data:6379", "cluster": True}},
    "Redis behind Sentinels": {
        "redis": {"existingSecret": {"name": "cache"}, "sentinel": "shop"},
        "networkPolicy": {"redis": {"ports": [6379, 26379]}},
    },
    "object store": merged(
        OBJECT_STORE,
        REFRESH,
        TRAINING,
        {"store": {"existingSecret": "reader"}, "jobs": {"storeSecret": "writer"}},
    ),
    "fetched from an object store": merged(
        OBJECT_STORE, FETCH, {"store": {"existingSecret": "reader"}}
    ),
    "fetched from a volume": merged(FETCH, {"store": {"volume": {"subPath": "shop"}}}),
    "existing claim": {"store": {"volume": {"existingClaim": "models"}}},
    "training once": TRAINING,
    "training by schedule": merged(TRAINING, {"training": {"schedule": "0 1 * * 0"}}),
    "Ingress": INGRESS,
    "autoscaling": AUTOSCALING,
    "state in a file": {"replicaCount": 1, "state": {"existingClaim": "events"}},
    "API keys": {"apiKeys": {"existingSecret": {"name": "keys"}}},
    "a platform that chooses users": {
        "podSecurity": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}
    },
    "no extras": {
        "networkPolicy": {"enabled": False},
        "serviceAccount": {"create": False},
        "resources": {"requests": {"cpu": "500m"}, "limits": None},
    },
    "placed": {
        "image": {"service": {"digest": f"sha256:{'0f' * 32}"}},
        "podAnnotations": {"a": "b"},
        "podLabels": {"team": "discovery"},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "extraEnv": [{"name": "OTEL_SDK_DISABLED", "value": "true"}],
        "extraVolumes": [{"name": "pictures", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "pictures", "mountPath": "/pictures"}],
    },
}
"""Values that between them make every object and every part of it."""
