"""What the chart has pods run, run for real: fetch, the service with its variables, `helm test`."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from chart_rendering import FETCH, NAME, config, merged, pod_templates, service_pod
from conftest import Published, StartService
from servers import RunningService, clean_environment

ROOT = Path(__file__).parents[1]


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


def test_helm_test_is_a_recommendation(published: Published, service: RunningService) -> None:
    unknown = helm_test(service)
    assert unknown.returncode == 0, unknown.stderr
    assert '"source": "popular"' in unknown.stdout
    known = helm_test(service, userId=published.known[-1])
    assert '"source": "known_user"' in known.stdout


def test_helm_test_fails_where_nothing_answers(start: StartService) -> None:
    service = start()
    service.terminate()
    assert helm_test(service).returncode != 0


@pytest.mark.parametrize("path", ["/readyz", "/healthz", "/metrics"])
def test_what_kubernetes_and_prometheus_ask_for_is_there(
    service: RunningService, path: str
) -> None:
    assert service.get(path).status_code == 200


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
