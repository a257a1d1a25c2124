"""Commands of the chart's pods, run as processes: fetch, the service, `helm test`."""

import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bundle.store.store import BundleStore
from tests.helm.rendering import (
    FETCH,
    MATRIX,
    NAME,
    config,
    merged,
    pod_templates,
    service_container,
    service_pod,
)
from tests.support.running.processes import clean_environment
from tests.support.running.servers import RunningRedis, RunningService
from tests.support.running.service_fixtures import Published, StartService

ROOT = Path(__file__).parents[2]


def run(
    container: dict[str, Any], replaced: dict[str, str], **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a container's command here, with other paths."""
    words = container["command"] + container.get("args", [])
    assert words[0] == "python"
    command = [replaced.get(word, word) for word in words]
    return subprocess.run(
        [sys.executable, *command[1:]],
        cwd=ROOT,
        env=clean_environment(**variables),
        capture_output=True,
        text=True,
        check=False,
    )


def helm_test(service: RunningService, **test: Any) -> subprocess.CompletedProcess[str]:
    [container] = pod_templates({"test": test})[f"{NAME}-test"]["spec"]["containers"]
    variables = {v["name"]: v["value"] for v in container["env"]}
    assert variables["SERVICE"] == f"http://{NAME}:80"
    return run(container, {}, **variables | {"SERVICE": service.url})


@pytest.mark.slow
def test_what_the_init_container_fetches_is_served(
    published: Published, start: StartService, tmp_path: Path
) -> None:
    values = merged(FETCH, {"store": {"fetch": {"version": published.version}}})
    values["config"] = {"max_concurrency": 7}
    [fetch] = service_pod(values)["initContainers"]
    fetched = tmp_path / "fetched"
    done = run(fetch, {"/source": str(published.store), "/store": str(fetched)})
    assert done.returncode == 0, done.stderr
    variables = config(values)
    assert variables["DREPMREC_STORE"] == "/store"
    # The options that a pod gets as variables, but for those that only fit a pod.
    options = {
        name.removeprefix("DREPMREC_").lower(): value
        for name, value in variables.items()
        if name not in ("DREPMREC_PORT", "DREPMREC_STORE", "DREPMREC_HOST")
    }
    service = start(store=fetched, **options)
    published.check(service.get(f"/recommend/{published.known[0]}").json())
    info = service.get("/info").json()
    assert info["limits"]["max_concurrency"] == 7
    assert info["bundle"]["version"] == published.version


@pytest.mark.slow
@pytest.mark.parametrize("case", ["production", "state in a file that is refreshed"])
def test_the_refresh_reads_what_the_service_was_told(
    published: Published, redis_server: RunningRedis, tmp_path: Path, case: str
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    store = BundleStore(shutil.copytree(published.store, tmp_path / "store"))
    values = MATRIX[case]
    [refresh] = pod_templates(values)[f"{NAME}-refresh"]["spec"]["containers"]

    def variables(container: dict[str, Any]) -> dict[str, str]:
        """The settings of a container that both are to be given, for this machine."""
        found = config(values) if {"configMapRef": {"name": NAME}} in container["envFrom"] else {}
        found = {name: value.replace("/state/", f"{state}/") for name, value in found.items()}
        for variable in container.get("env", []):
            found[variable["name"]] = variable.get("value", redis_server.url)
        own = ("PORT", "STORE", "HOST", "CACHE", "KEYS", "THREADS")
        return {k: v for k, v in found.items() if k not in [f"DREPMREC_{name}" for name in own]}

    options = {
        name.removeprefix("DREPMREC_").lower(): value
        for name, value in variables(service_container(values)).items()
    }
    with closing(RunningService(Path(store.root), tmp_path / "log", **options)) as service:
        erased, other = published.known[:2]
        event = {"user_id": other, "item_id": "item-1"}
        assert service.post("/events", json={"events": [event]}).status_code == 202
        assert service.client.delete(f"/users/{erased}").status_code == 204
    where = ("/store", values.get("store", {}).get("url"))
    words = [str(store.root) if word in where else word for word in refresh["args"]]
    done = subprocess.run(
        [sys.executable, "-m", "training", *words, "--device", "cpu"],
        cwd=ROOT,
        env=clean_environment(**variables(refresh)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "published" in done.stdout, done.stdout
    users = store.load().users
    assert erased not in users.ids
    assert other in users.ids
    if case != "production":
        # A log that the service is told to keep, and that is not there, is an error.
        state.rename(tmp_path / "elsewhere")
        lost = subprocess.run(
            [sys.executable, "-m", "training", *words],
            cwd=ROOT,
            env=clean_environment(**variables(refresh)),
            capture_output=True,
            text=True,
            check=False,
        )
        assert lost.returncode == 2
        assert "state.sqlite3: no such file" in lost.stderr


def test_helm_test_is_a_recommendation(published: Published, service: RunningService) -> None:
    unknown = helm_test(service)
    assert unknown.returncode == 0, unknown.stderr
    assert '"source": "popular"' in unknown.stdout
    known = helm_test(service, userId=published.known[-1])
    assert '"source": "known_user"' in known.stdout


@pytest.mark.slow
def test_helm_test_fails_where_nothing_answers(start: StartService) -> None:
    service = start()
    service.terminate()
    assert helm_test(service).returncode != 0


@pytest.mark.parametrize("path", ["/readyz", "/healthz", "/metrics"])
def test_what_kubernetes_and_prometheus_ask_for_is_there(
    service: RunningService, path: str
) -> None:
    assert service.get(path).status_code == 200


@pytest.mark.slow
def test_the_alert_on_fallbacks_is_a_share_of_all_users(
    published: Published, start: StartService
) -> None:
    service = start()
    users = [*published.known[:6], "nobody", "no one"]
    for user in users:
        service.get(f"/recommend/{user}")
    service.post("/recommend", json={"users": users})
    assert service.metric("stage_seconds_count", stage="vector") == 2 * len(users)
    assert service.metric("fallbacks_total", reason="unknown_user") == 4
