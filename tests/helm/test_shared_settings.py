"""Settings that the service and the refresh share: both are given the same by every rendering."""

import json
import os
from typing import Any
from unittest.mock import patch

import certifi
import helm_python as helm
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from bundle.events.weights import EVENT_WEIGHTS, parse_event_weights
from service.settings import Settings
from tests.helm.rendering import (
    FETCH,
    MATRIX,
    NAME,
    OBJECT_STORE,
    REDIS,
    Object,
    config,
    merged,
    pod_templates,
)
from training.cli.lazy import LazyCommand
from training.cli.main import COMMANDS

[REFRESH_COMMAND] = [LazyCommand(entry) for entry in COMMANDS if entry.name == "refresh"]
OF_EACH = {"store", "threads", "cache"}
"""Options of both whose values differ: a service that fetches bundles, the jobs' own resources."""
WITH_REFRESH = [case for case in MATRIX if MATRIX[case].get("refresh", {}).get("enabled")]


def environment(container: Object, config: dict[str, str]) -> dict[str, str]:
    """The settings that a container is given as environment variables."""
    found: dict[str, str] = {}
    for source in container["envFrom"]:
        if "configMapRef" in source:
            found |= config
    for variable in container.get("env", []):
        secret = variable.get("valueFrom", {}).get("secretKeyRef", {})
        # A Secret's content is not known here, only that both are given the same one.
        value = f"redis://{secret['name']}/?client_name={secret['key']}" if secret else None
        found[variable["name"]] = value or variable["value"]
    mounted = "/etc/drepmrec/redis/ca.crt"
    return {
        name: value.replace(mounted, certifi.where())
        for name, value in found.items()
        if name.startswith("DREPMREC_")
    }


def check(values: Object) -> None:
    """Service and refresh understand the same, and have the files that their settings name."""
    found, pods = config(values), pod_templates(values)
    service_pod, refresh_pod = (pods[name]["spec"] for name in (NAME, f"{NAME}-refresh"))
    [service], [refresh] = service_pod["containers"], refresh_pod["containers"]
    with patch.dict(os.environ, environment(service, found)):
        of_service = Settings()  # type: ignore[call-arg]  # The variables give the store.
    with patch.dict(os.environ, environment(refresh, found)):
        command, *arguments = refresh["args"]
        of_refresh = REFRESH_COMMAND.make_context(command, list(arguments)).params
    of_refresh["event_weights"] = of_refresh["event_weights"] or json.dumps(dict(EVENT_WEIGHTS))
    shared = of_refresh.keys() & Settings.model_fields.keys() - OF_EACH
    assert shared >= {"redis_url", "redis_namespace", "redis_cluster", "redis_sentinel"}
    assert shared >= {"event_weights", "vector_ttl", "state"}
    for name in shared:
        assert understood(of_refresh[name]) == understood(getattr(of_service, name)), name
    url = values.get("store", {}).get("url", "/store")
    assert arguments[arguments.index("--store") + 1] == url
    mounted = shared_mounts(service_pod)
    assert mounted == shared_mounts(refresh_pod)
    if of_service.state:
        assert str(of_service.state.parent) in mounted


def shared_mounts(pod: Object) -> dict[str, Object]:
    """Mounts and volumes of a pod by path, without those that are its own."""
    [container] = pod["containers"]
    own = ("/tmp", "/store", "/cache", "/data", "/etc/drepmrec/keys")
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    return {
        mount["mountPath"]: mount | volumes[mount["name"]]
        for mount in container["volumeMounts"]
        if mount["mountPath"] not in own
    }


def understood(value: Any) -> Any:
    """A value without the type that the library of one side gives it."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, str) and value.startswith("{"):
        return dict(parse_event_weights(value))
    return dict(value) if isinstance(value, dict) else value


@pytest.mark.parametrize("case", WITH_REFRESH)
def test_service_and_refresh_agree(case: str) -> None:
    check(MATRIX[case])


def test_the_examples_that_refresh_are_among_them() -> None:
    assert {"production", "gpu"} <= set(WITH_REFRESH)
    values = MATRIX["production"]
    [container] = pod_templates(values)[f"{NAME}-refresh"]["spec"]["containers"]
    found = environment(container, config(values))
    assert found["DREPMREC_REDIS_NAMESPACE"] == "shop"


CONFIG = st.fixed_dictionaries(
    {},
    optional={
        "redis_namespace": st.from_regex(r"[A-Za-z0-9._-]{1,12}", fullmatch=True),
        "redis_timeout": st.sampled_from([0.02, 1, 60]),
        "vector_ttl": st.integers(1, 10**9),
        "events_ttl": st.integers(60, 10**9),
        "event_weights": st.dictionaries(
            st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=5),
            st.sampled_from([-2, 0.1, 3, 1e5]),
            max_size=3,
        ),
        "workers": st.integers(1, 4),
        "max_concurrency": st.integers(1, 1000),
    },
)
STATES = st.sampled_from(
    [
        REDIS,
        {"redis": {"url": "redis://redis.data:6379/7"}},
        {"redis": {"url": "redis://redis.data", "cluster": True}},
        {"redis": {"existingSecret": {"name": "cache"}, "sentinel": "shop"}},
        {"redis": {"existingSecret": {"name": "cache", "key": "uri"}}},
        {"redis": MATRIX["Redis with certificates"]["redis"]},
        {"replicaCount": 1, "state": {"existingClaim": "events"}},
    ]
)
STORES = st.sampled_from(
    [{}, OBJECT_STORE, FETCH, merged(OBJECT_STORE, FETCH), MATRIX["existing claim"]]
)
EXTRA = st.lists(
    st.sampled_from(
        [
            {"name": "DREPMREC_REDIS_NAMESPACE", "value": "by-variable"},
            {"name": "DREPMREC_VECTOR_TTL", "value": "77"},
            {"name": "DREPMREC_EVENT_WEIGHTS", "value": '{"buy": 5}'},
            {"name": "OTEL_SDK_DISABLED", "value": "true"},
        ]
    ),
    unique_by=lambda variable: variable["name"],
)


@given(config=CONFIG, state=STATES, store=STORES, extra=EXTRA)
@settings(max_examples=60, deadline=None, phases=[Phase.generate])
def test_service_and_refresh_agree_on_any_values(
    config: Object, state: Object, store: Object, extra: list[Object]
) -> None:
    values = merged(state, store, {"config": config, "extraEnv": extra})
    check(merged(values, {"refresh": {"enabled": True}}))


def test_options_that_are_shared_are_refused_as_arguments() -> None:
    command = REFRESH_COMMAND.load()
    shared = {p.opts[0] for p in command.params if p.name in Settings.model_fields} - {"--cache"}
    assert shared >= {"--redis-url", "--store", "--threads"}
    for option in shared | {"--once", "--every"}:
        for words in ([option, "x"], [f"{option}=x"]):
            values = merged(MATRIX["bundled Redis"], {"refresh": {"args": words}})
            with pytest.raises(helm.HelmError, match=f"refresh.args: {option} is set by"):
                pod_templates(values)


def test_a_refresh_of_a_sqlite_file_runs_on_the_node_of_the_service() -> None:
    values = MATRIX["state in a file that is refreshed"]
    pods = pod_templates(values)
    affinity = pods[f"{NAME}-refresh"]["spec"]["affinity"]["podAffinity"]
    [term] = affinity["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    labels = pods[NAME]["metadata"]["labels"]
    assert term["labelSelector"]["matchLabels"].items() <= labels.items()
    assert "affinity" not in pod_templates(MATRIX["bundled Redis"])[f"{NAME}-refresh"]["spec"]
