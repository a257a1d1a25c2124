"""Pods: security, probes, shutdown, environment, scheduling and scaling."""

from typing import Any

import pytest

from tests.helm.rendering import (
    AUTOSCALING,
    MATRIX,
    NAME,
    Object,
    config,
    deployment,
    merged,
    of_kind,
    pod_templates,
    service_container,
    service_pod,
)

EVERY_POD = [
    pytest.param(template["spec"], id=f"{case}: {name}")
    for case, values in MATRIX.items()
    for name, template in pod_templates(values).items()
]


@pytest.mark.parametrize("pod", EVERY_POD)
def test_every_pod_is_restricted(pod: Object) -> None:
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert not [volume for volume in pod.get("volumes", []) if "hostPath" in volume]
    for container in pod["containers"] + pod.get("initContainers", []):
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert "privileged" not in own
        assert container["resources"]["requests"]


def test_the_users_are_the_images_unless_the_platform_chooses() -> None:
    ids = ("runAsUser", "runAsGroup", "fsGroup")
    assert [service_pod()["securityContext"][name] for name in ids] == [10001] * 3
    chosen = service_pod(MATRIX["a platform that chooses users"])["securityContext"]
    assert not set(ids) & set(chosen)
    assert "supplementalGroups" not in service_pod()["securityContext"]
    nfs = service_pod(MATRIX["a directory of NFS"])["securityContext"]
    assert nfs["supplementalGroups"] == [2000]


def test_a_rollout_never_takes_a_pod_away_before_its_successor_is_ready() -> None:
    strategy = deployment()["spec"]["strategy"]
    assert strategy["type"] == "RollingUpdate"
    assert strategy["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": "25%"}


def test_one_sqlite_file_is_never_open_in_two_pods() -> None:
    spec = deployment(MATRIX["state in a file"])["spec"]
    assert spec["strategy"] == {"type": "Recreate"}
    assert spec["replicas"] == 1


@pytest.mark.parametrize(("drain", "pre_stop"), [(20, 10), (90, 5), (0, 1)])
def test_the_grace_period_is_longer_than_pre_stop_and_drain(drain: int, pre_stop: int) -> None:
    values: Any = {"config": {"drain_seconds": drain}, "preStopSeconds": pre_stop}
    pod = service_pod(values)
    [container] = pod["containers"]
    assert container["lifecycle"]["preStop"] == {"sleep": {"seconds": pre_stop}}
    assert pod["terminationGracePeriodSeconds"] == pre_stop + drain + 2 + 10
    values["config"] |= {"state_timeout": 7.5}
    assert service_pod(values)["terminationGracePeriodSeconds"] == pre_stop + drain + 8 + 10
    assert config(values)["DREPMREC_DRAIN_SECONDS"] == str(drain)


def test_probes_ask_what_they_are_for() -> None:
    container = service_container({"startupSeconds": 62})
    startup, ready, alive = (container[f"{p}Probe"] for p in ("startup", "readiness", "liveness"))
    assert startup["httpGet"] == ready["httpGet"] == {"path": "/readyz", "port": "http"}
    assert alive["httpGet"] == {"path": "/healthz", "port": "http"}
    assert 62 <= startup["periodSeconds"] * startup["failureThreshold"] < 62 + 5
    assert {"name": "http", "containerPort": 8000, "protocol": "TCP"} in container["ports"]
    assert config()["DREPMREC_PORT"] == "8000"
    assert deployment({"startupSeconds": 900})["spec"]["progressDeadlineSeconds"] > 900


@pytest.mark.parametrize(
    ("resources", "workers", "threads"),
    [
        ({"limits": {"cpu": "4"}}, 1, "4"),
        ({"limits": {"cpu": 4}}, 2, "2"),
        ({"limits": {"cpu": "2500m"}}, 1, "2"),
        ({"limits": {"cpu": "250m"}}, 1, "1"),
        ({"limits": {"cpu": 1.5}}, 3, "1"),
        ({"limits": {"cpu": None}, "requests": {"cpu": "3"}}, 1, "3"),
        ({"limits": None, "requests": {"cpu": None}}, 1, "1"),
    ],
)
def test_threads_follow_the_limit_of_cpu_or_the_request(
    resources: Object, workers: int, threads: str
) -> None:
    values = {"resources": resources, "config": {"workers": workers}}
    assert config(values)["DREPMREC_THREADS"] == threads


def test_threads_that_are_given_stay() -> None:
    assert config({"config": {"threads": 7}})["DREPMREC_THREADS"] == "7"


def test_settings_become_variables_as_they_were_written() -> None:
    given = {"max_body": 10_000_000, "redis_timeout": 0.02, "log_level": "debug"}
    variables = config({"config": given})
    assert variables["DREPMREC_MAX_BODY"] == "10000000"  # and not 1e+07
    assert variables["DREPMREC_REDIS_TIMEOUT"] == "0.02"
    assert variables["DREPMREC_LOG_LEVEL"] == "debug"
    assert service_container({"config": given})["envFrom"] == [{"configMapRef": {"name": NAME}}]


def test_pods_are_replaced_when_the_config_map_changes_and_only_then() -> None:
    def checksum(values: Object) -> str:
        metadata = deployment(values)["spec"]["template"]["metadata"]
        return str(metadata["annotations"]["checksum/config"])

    assert checksum({}) == checksum({"replicaCount": 3})
    assert checksum({}) != checksum({"config": {"max_concurrency": 7}})


def test_pods_are_spread_over_zones_and_nodes() -> None:
    spec = deployment(MATRIX["production"])["spec"]
    constraints = spec["template"]["spec"]["topologySpreadConstraints"]
    assert {c["topologyKey"] for c in constraints} == {
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    }
    for constraint in constraints:
        assert constraint["maxSkew"] == 1
        assert constraint["whenUnsatisfiable"] == "DoNotSchedule"
        assert constraint["labelSelector"] == spec["selector"]
        assert constraint["matchLabelKeys"] == ["pod-template-hash"]
        # Otherwise nodes with taints, e.g. those with GPUs, would count as empty ones.
        assert constraint["nodeTaintsPolicy"] == constraint["nodeAffinityPolicy"] == "Honor"


def test_the_disruption_budget_is_of_the_services_pods() -> None:
    budget = of_kind("PodDisruptionBudget")[NAME]["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == deployment()["spec"]["selector"]
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_the_autoscaler_counts_cpu_and_requests_in_work() -> None:
    autoscaler = of_kind("HorizontalPodAutoscaler", AUTOSCALING)[NAME]["spec"]
    cpu, in_flight = autoscaler["metrics"]
    assert cpu["resource"]["target"] == {"type": "Utilization", "averageUtilization": 70}
    assert in_flight["pods"]["metric"]["name"] == "drepmrec_requests_in_flight"
    assert in_flight["pods"]["target"] == {"type": "AverageValue", "averageValue": "16"}
    assert autoscaler["scaleTargetRef"]["name"] == NAME
    # With a number, every upgrade would undo the autoscaler's decision.
    assert "replicas" not in deployment(AUTOSCALING)["spec"]
    assert deployment()["spec"]["replicas"] == 2
    only = merged(AUTOSCALING, {"autoscaling": {"targetCPU": None}})
    assert len(of_kind("HorizontalPodAutoscaler", only)[NAME]["spec"]["metrics"]) == 1


def test_accounts_are_apart_and_have_no_token() -> None:
    accounts = of_kind("ServiceAccount", MATRIX["production"])
    assert set(accounts) == {NAME, f"{NAME}-jobs"}
    assert all(each["automountServiceAccountToken"] is False for each in accounts.values())
    roles = {a["metadata"]["annotations"]["eks.amazonaws.com/role-arn"] for a in accounts.values()}
    assert len(roles) == 2
    pods = pod_templates(MATRIX["production"])
    assert pods[NAME]["spec"]["serviceAccountName"] == NAME
    assert pods[f"{NAME}-refresh"]["spec"]["serviceAccountName"] == f"{NAME}-jobs"


def test_images_by_digest_tag_and_default() -> None:
    assert service_container()["image"] == "drepmrec-service:0.1.0"
    tagged = {"image": {"service": {"tag": "0.2.0"}}}
    assert service_container(tagged)["image"] == "drepmrec-service:0.2.0"
    digest = f"sha256:{'0f' * 32}"
    pinned = merged(tagged, {"image": {"service": {"digest": digest}}})
    assert service_container(pinned)["image"] == f"drepmrec-service@{digest}"


def test_what_is_placed_is_in_the_pod() -> None:
    pod = service_pod(MATRIX["placed"])
    [container] = pod["containers"]
    assert {"name": "OTEL_SDK_DISABLED", "value": "true"} in container["env"]
    assert {"name": "pictures", "emptyDir": {}} in pod["volumes"]
    assert {"name": "pictures", "mountPath": "/pictures"} in container["volumeMounts"]
    assert pod["nodeSelector"] == {"disk": "fast"}
    metadata = deployment(MATRIX["placed"])["spec"]["template"]["metadata"]
    assert metadata["labels"]["team"] == "discovery"
    assert metadata["annotations"]["a"] == "b"
