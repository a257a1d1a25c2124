"""Kubernetes takes what the chart makes, Helm finds nothing wrong with it."""

import json
import re
import tomllib
from functools import cache

import helm_python as helm
import pytest
import yaml
from chart_rendering import CHART, EXAMPLES, MATRIX, ROOT, example, manifests, objects
from kubernetes_validate import SchemaNotFoundError, validate

VERSIONS = ["1.30", "1.34", "1.37"]
NOT_KUBERNETES_OWN = {"ServiceMonitor", "PrometheusRule", "HTTPRoute"}


@cache
def check(text: str, version: str) -> str:
    """Each object once, however many values make it; the kind if Kubernetes does not know it."""
    found = json.loads(text)
    try:
        # A version that the package lacks is validated against an earlier one.
        assert validate(found, version, strict=True) == version
    except SchemaNotFoundError:
        return found["kind"]
    return ""


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX.keys())
def test_kubernetes_takes_every_object(values, version):
    found = objects(values)
    kinds = {each["kind"] for each in found}
    assert kinds >= {"Deployment", "Service", "ConfigMap", "PodDisruptionBudget"}
    unknown = {check(json.dumps(each, sort_keys=True), version) for each in found} - {""}
    assert unknown <= NOT_KUBERNETES_OWN


def test_the_matrix_renders_every_template():
    texts = [text for values in MATRIX.values() for text in manifests(values).items()]
    rendered = {path for path, text in texts if text.strip()}
    templates = {
        f"drepmrec/{path.relative_to(CHART)}" for path in (CHART / "templates").rglob("*.yaml")
    }
    assert templates <= rendered


def test_the_oldest_version_that_is_allowed_is_validated():
    required = yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"]
    assert re.fullmatch(r">=([\d.]+)\.0-0", required)[1] == VERSIONS[0]


def test_the_chart_is_of_the_projects_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == project["version"]


@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX.keys())
def test_names_are_unique_and_labels_say_what_an_object_belongs_to(values):
    found = objects(values)
    names = [(o["apiVersion"], o["kind"], o["metadata"]["name"]) for o in found]
    assert len(set(names)) == len(names)
    for each in found:
        labels = each["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "shop"
        assert labels["app.kubernetes.io/component"]
        assert labels["helm.sh/chart"].startswith("drepmrec-")


@pytest.mark.parametrize("name", ["defaults", *EXAMPLES])
def test_helm_lint_is_clean(name):
    report = helm.lint(CHART, example(name) if name in EXAMPLES else {}, strict=True)
    assert report["errors"] == []
    assert [m for m in report["messages"] if m["severity"] > 1] == []


def test_names_stay_within_the_limits_of_kubernetes():
    values = {
        "fullnameOverride": "a-very-long-name-for-a-recommender-of-a-very-large-shop",
        "training": {"enabled": True, "dataClaim": "interactions"},
        "refresh": {"enabled": True},
    }
    found = objects(values)
    assert all(len(o["metadata"]["name"]) <= 63 for o in found)
    assert all(len(o["metadata"]["name"]) <= 52 for o in found if o["kind"] == "CronJob")
