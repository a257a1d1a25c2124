"""Renderings of the chart by Helm, as objects, and the values that its tests render."""

import copy
from functools import cache
from typing import Any

import helm_python as helm
import yaml  # type: ignore[import-untyped]

from tests.support.paths import ROOT

CHART = ROOT / "helm" / "drepmrec"
RELEASE, NAMESPACE = "shop", "live"
NAME = f"{RELEASE}-drepmrec"
EXAMPLES = {path.stem: path for path in sorted((CHART / "examples").glob("*.yaml"))}

Object = dict[str, Any]


def parsed(text: str) -> list[Object]:
    """The objects of a YAML text, without the empty documents."""
    return [found for found in yaml.safe_load_all(text) if found]


def example(name: str) -> Object:
    """The values of an example."""
    [values] = parsed(EXAMPLES[name].read_text())
    return values


@cache
def chart() -> helm.Chart:
    """The chart, loaded once for all tests."""
    return helm.Chart.load(CHART)


def manifests(values: Object | None = None, **options: Any) -> dict[str, str]:
    """Rendered text by the path of the template.

    Args:
        values: merged over the chart's own.
        options: of Helm's `render`, e.g. `is_upgrade`.
    """
    return chart().render(values or {}, name=RELEASE, namespace=NAMESPACE, **options)


def objects(values: Object | None = None, **options: Any) -> list[Object]:
    """All objects that the chart makes of values."""
    texts = manifests(values, **options)
    yaml_texts = [text for path, text in texts.items() if path.endswith(".yaml")]
    return [found for text in yaml_texts for found in parsed(text)]


def of_kind(kind: str, values: Object | None = None, **options: Any) -> dict[str, Object]:
    """Objects of one kind, by name."""
    found = [each for each in objects(values, **options) if each["kind"] == kind]
    return {each["metadata"]["name"]: each for each in found}


def pod_templates(values: Object) -> dict[str, Object]:
    """Templates of all pods, by the name of the object that creates them."""
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
    """The service's Deployment."""
    return of_kind("Deployment", values, **options)[NAME]


def service_pod(values: Object | None = None) -> Object:
    """Spec of the service's pods."""
    pod: Object = deployment(values)["spec"]["template"]["spec"]
    return pod


def service_container(values: Object | None = None) -> Object:
    """The service's container."""
    containers: list[Object] = service_pod(values)["containers"]
    [container] = containers
    return container


def config(values: Object | None = None) -> dict[str, str]:
    """Environment variables of the service's ConfigMap."""
    data: dict[str, str] = of_kind("ConfigMap", values)[NAME]["data"]
    return data


def merged(*layers: Object) -> Object:
    """Values merged as Helm merges several `--values`: later layers take precedence."""
    result: Object = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else copy.deepcopy(value)
    return result


REDIS = {"redis": {"bundled": {"enabled": True}}}
OBJECT_STORE = {"store": {"kind": "url", "url": "gs://models/shop"}}
FETCH = {"store": {"fetch": {"enabled": True, "version": "20260314T091500Z-5f0c2a71"}}}
ITEMS = {"refresh": {"args": ["--items", "/data/items.csv"], "dataClaim": "items"}}
REFRESH = merged(ITEMS, {"refresh": {"enabled": True}})
KEYS = {"apiKeys": {"existingSecret": {"name": "keys"}}}
TRAINING = {"training": {"enabled": True, "dataClaim": "interactions"}}
INGRESS: Object = {
    **KEYS,
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
    "state in a file that is refreshed": {
        "replicaCount": 1,
        "state": {"existingClaim": "events"},
        "refresh": {"enabled": True},
    },
    "Redis with certificates": {
        "redis": {
            "url": "rediss://redis.data:6380?ssl_ca_certs=/etc/drepmrec/redis/ca.crt",
            "tls": {"existingSecret": "redis-certificates"},
        },
        "refresh": {"enabled": True},
        "extraEnv": [{"name": "DREPMREC_EVENTS_TTL", "value": "600"}],
    },
    "workload identity": merged(
        OBJECT_STORE,
        REFRESH,
        {
            "refresh": {"cacheClaim": "copies"},
            "networkPolicy": {
                "dns": {"ports": [53, 5353]},
                "metadataServer": {
                    "to": [{"ipBlock": {"cidr": "169.254.169.254/32"}}],
                    "ports": [80, 988],
                },
            },
        },
    ),
    "open to everybody": {"service": {"type": "NodePort"}, "apiKeys": {"optional": True}}
    | {"networkPolicy": {"clients": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}},
    "API keys": KEYS,
    "a platform that chooses users": {
        "podSecurity": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}
    },
    "a directory of NFS": {"podSecurity": {"supplementalGroups": [2000]}},
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
"""Sets of values that together render every template and every branch in it."""
