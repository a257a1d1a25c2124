"""Network: policies, Service, Ingress, HTTPRoute and ServiceMonitor."""

import json

from tests.helm.rendering import (
    INGRESS,
    MATRIX,
    NAME,
    NAMESPACE,
    OBJECT_STORE,
    REDIS,
    REFRESH,
    TRAINING,
    Object,
    deployment,
    merged,
    of_kind,
    pod_templates,
)
from tests.support.paths import DOCS

PRIVATE = {
    *("healthz", "readyz", "info", "metrics", "admin", "docs", "openapi.json"),
    *("audience", "preview", "studio"),
}
"""First segments of the paths that must not be public."""


def policies(values: Object) -> dict[str, Object]:
    return {name: each["spec"] for name, each in of_kind("NetworkPolicy", values).items()}


def ports(rule: Object) -> list[int]:
    return [port["port"] for port in rule["ports"]]


def selects(selector: Object, labels: dict[str, str]) -> bool:
    """True if a label selector selects a pod with these labels."""
    wanted = selector.get("matchLabels", {}).items()
    return wanted <= labels.items() and all(
        labels.get(e["key"]) in e["values"] for e in selector.get("matchExpressions", [])
    )


def test_every_pod_but_the_test_is_under_exactly_one_policy_for_both_ways() -> None:
    values = merged(REDIS, REFRESH, TRAINING)
    found = policies(values)
    assert set(found) == {NAME, f"{NAME}-jobs", f"{NAME}-redis"}
    for name, template in pod_templates(values).items():
        labels = template["metadata"]["labels"]
        mine = [p for p in found.values() if selects(p["podSelector"], labels)]
        assert len(mine) == (0 if name == f"{NAME}-test" else 1), name
        assert all(p["policyTypes"] == ["Ingress", "Egress"] for p in mine)


def test_the_service_hears_its_namespace_clients_and_prometheus_on_its_port_only() -> None:
    [rule] = policies(MATRIX["production"])[NAME]["ingress"]
    assert ports(rule) == [8000]
    own, clients, monitoring = rule["from"]
    assert own == {"podSelector": {}}
    for peer, namespace in [(clients, "gateways"), (monitoring, "monitoring")]:
        labels = peer["namespaceSelector"]["matchLabels"]
        assert labels == {"kubernetes.io/metadata.name": namespace}
    [rule] = policies({})[NAME]["ingress"]
    assert rule["from"] == [{"podSelector": {}}]


def test_the_service_calls_only_what_it_is_configured_to_call() -> None:
    def called(values: Object) -> list[list[int]]:
        return [ports(rule) for rule in policies(values)[NAME]["egress"]]

    assert called({}) == [[53, 53]]
    assert called(REDIS) == [[53, 53], [6379]]
    assert called(OBJECT_STORE) == [[53, 53], [443]]
    assert called(MATRIX["production"]) == [[53, 53], [6380], [443]]
    assert called(MATRIX["workload identity"]) == [[53, 53, 5353, 5353], [443], [80, 988]]
    collector = {"to": [{"podSelector": {}}], "ports": [{"protocol": "TCP", "port": 4317}]}
    assert called({"networkPolicy": {"extraEgress": [collector]}}) == [[53, 53], [4317]]


def test_dns_is_the_clusters_and_the_nodes() -> None:
    rule, *_ = policies({})[NAME]["egress"]
    pods, node = rule["to"]
    assert pods["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "kube-system"
    }
    assert node == {"ipBlock": {"cidr": "169.254.20.10/32"}}
    assert {port["protocol"] for port in rule["ports"]} == {"UDP", "TCP"}


def test_service_and_jobs_reach_the_metadata_server_where_it_is_named() -> None:
    found = policies(MATRIX["workload identity"])
    assert found[NAME]["egress"] == found[f"{NAME}-jobs"]["egress"]
    [_, _, rule] = found[NAME]["egress"]
    assert rule["to"] == [{"ipBlock": {"cidr": "169.254.169.254/32"}}]


def test_jobs_are_called_by_nobody_and_call_store_and_redis() -> None:
    policy = policies(merged(OBJECT_STORE, REDIS, REFRESH))[f"{NAME}-jobs"]
    assert "ingress" not in policy
    assert [ports(rule) for rule in policy["egress"]] == [[53, 53], [6379], [443]]


def test_the_bundled_redis_is_called_by_service_and_jobs_and_calls_nobody() -> None:
    values = merged(REDIS, REFRESH, TRAINING)
    policy = policies(values)[f"{NAME}-redis"]
    assert "egress" not in policy
    [rule] = policy["ingress"]
    assert ports(rule) == [6379]
    [peer] = rule["from"]
    callers = {
        template["metadata"]["labels"]["app.kubernetes.io/component"]
        for template in pod_templates(values).values()
        if selects(peer["podSelector"], template["metadata"]["labels"])
    }
    assert callers == {"service", "refresh", "training"}
    # The service's egress rule selects the same pod.
    _, way = policies(values)[NAME]["egress"]
    [redis] = way["to"]
    labels = pod_templates(values)[f"{NAME}-redis"]["metadata"]["labels"]
    assert selects(redis["podSelector"], labels)


def test_no_policies_where_they_are_not_wanted() -> None:
    assert policies(MATRIX["no extras"]) == {}


def test_the_service_leads_to_the_pods() -> None:
    spec = of_kind("Service", {"service": {"port": 8080}})[NAME]["spec"]
    labels = deployment()["spec"]["template"]["metadata"]["labels"]
    assert spec["selector"].items() <= labels.items()
    [port] = spec["ports"]
    assert (port["port"], port["targetPort"]) == (8080, "http")


def test_the_ingress_leads_to_the_service() -> None:
    found = of_kind("Ingress", INGRESS)[NAME]
    assert found["metadata"]["annotations"] == {"example.com/rate": "10"}
    spec = found["spec"]
    assert spec["ingressClassName"] == "nginx"
    assert spec["tls"] == [{"secretName": "certificate", "hosts": ["a.example.com"]}]
    assert [rule["host"] for rule in spec["rules"]] == ["a.example.com", "b.example.com"]
    for rule in spec["rules"]:
        for path in rule["http"]["paths"]:
            assert path["pathType"] == "Prefix"
            assert path["backend"]["service"] == {"name": NAME, "port": {"name": "http"}}


def test_the_route_leads_to_the_service() -> None:
    found = of_kind("HTTPRoute", MATRIX["production"])[NAME]
    assert found["apiVersion"] == "gateway.networking.k8s.io/v1"
    assert set(found["spec"]) == {"parentRefs", "hostnames", "rules"}
    assert found["spec"]["parentRefs"] == [
        {"name": "public", "namespace": "gateways", "sectionName": "https"}
    ]
    assert found["spec"]["hostnames"] == ["recommend.example.com"]
    [rule] = found["spec"]["rules"]
    assert rule["backendRefs"] == [{"name": NAME, "port": 80}]
    assert {match["path"]["type"] for match in rule["matches"]} == {"PathPrefix"}


def test_every_endpoint_is_either_public_or_private() -> None:
    paths = json.loads((DOCS / "reference" / "openapi.json").read_text())["paths"]
    endpoints = {path.split("/")[1] for path in paths}
    [rule] = of_kind("HTTPRoute", MATRIX["production"])[NAME]["spec"]["rules"]
    public = {match["path"]["value"].removeprefix("/") for match in rule["matches"]}
    assert not public & PRIVATE
    assert endpoints - PRIVATE == public, "publicPaths of values.yaml"


def test_prometheus_finds_the_service_and_nothing_else() -> None:
    found = of_kind("ServiceMonitor", MATRIX["production"])[NAME]
    assert found["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    assert set(found["spec"]) == {"selector", "endpoints"}
    values = merged(MATRIX["production"], {"redis": {"existingSecret": {"name": ""}}}, REDIS)
    services = of_kind("Service", values)
    assert len(services) == 2
    chosen = [
        name
        for name, service in services.items()
        if selects(found["spec"]["selector"], service["metadata"]["labels"])
    ]
    # Alerts and dashboard select by the label `job`, which is the name of the Service.
    assert chosen == [NAME]
    [endpoint] = found["spec"]["endpoints"]
    assert endpoint == {"port": "http", "path": "/metrics", "interval": "30s"}
    closed = {"metrics": {"serviceMonitor": {"existingSecret": {"name": "admin"}}}}
    values = merged(MATRIX["production"], closed)
    [endpoint] = of_kind("ServiceMonitor", values)[NAME]["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"] == {"name": "admin", "key": "api-key"}
    assert [p["name"] for p in services[NAME]["spec"]["ports"]] == ["http"]
    assert found["metadata"].get("namespace", NAMESPACE) == NAMESPACE
