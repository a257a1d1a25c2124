"""All objects of the chart: valid for Kubernetes, clean for Helm's linter, unique in name."""

import json
import shutil
import tarfile
import tomllib
from functools import cache
from pathlib import Path

import helm_python as helm
import pytest
from kubernetes_validate import (  # type: ignore[import-untyped]
    SchemaNotFoundError,
    validate,
)

from tests.helm.rendering import (
    CHART,
    EXAMPLES,
    MATRIX,
    Object,
    example,
    manifests,
    objects,
    parsed,
)
from tests.support.paths import ROOT

VERSIONS = ["1.30", "1.34", "1.37"]
NOT_KUBERNETES_OWN = {"ServiceMonitor", "PrometheusRule", "HTTPRoute"}


def chart_metadata() -> Object:
    [found] = parsed((CHART / "Chart.yaml").read_text())
    return found


@cache
def check(text: str, version: str) -> str:
    """Validate an object, once for equal ones.

    Returns:
        Its kind if Kubernetes has no schema for it, else the empty string.
    """
    found: Object = json.loads(text)
    try:
        # The package falls back to an earlier version if it lacks this one.
        assert validate(found, version, strict=True) == version
    except SchemaNotFoundError:
        return str(found["kind"])
    return ""


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX.keys())
def test_kubernetes_takes_every_object(values: Object, version: str) -> None:
    found = objects(values)
    kinds = {each["kind"] for each in found}
    assert kinds >= {"Deployment", "Service", "ConfigMap", "PodDisruptionBudget"}
    unknown = {check(json.dumps(each, sort_keys=True), version) for each in found} - {""}
    assert unknown <= NOT_KUBERNETES_OWN


def test_the_matrix_renders_every_template() -> None:
    texts = [text for values in MATRIX.values() for text in manifests(values).items()]
    rendered = {path for path, text in texts if text.strip()}
    templates = {
        f"drepmrec/{path.relative_to(CHART)}" for path in (CHART / "templates").rglob("*.yaml")
    }
    assert templates <= rendered


def test_the_oldest_version_that_is_allowed_is_validated() -> None:
    assert chart_metadata()["kubeVersion"] == f">={VERSIONS[0]}.0-0"


def test_the_chart_is_of_the_projects_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart_metadata()["appVersion"] == project["version"]


@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX.keys())
def test_names_are_unique_and_labels_say_what_an_object_belongs_to(values: Object) -> None:
    found = objects(values)
    names = [(o["apiVersion"], o["kind"], o["metadata"]["name"]) for o in found]
    assert len(set(names)) == len(names)
    for each in found:
        labels = each["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "shop"
        assert labels["app.kubernetes.io/component"]
        assert labels["helm.sh/chart"].startswith("drepmrec-")


@pytest.mark.parametrize("name", ["defaults", *EXAMPLES])
def test_helm_lint_is_clean(name: str) -> None:
    report = helm.lint(CHART, example(name) if name in EXAMPLES else {}, strict=True)
    assert report["errors"] == []
    assert [m for m in report["messages"] if m["severity"] > 1] == []


def test_the_archive_has_the_chart_and_no_leftovers(tmp_path: Path) -> None:
    copy = shutil.copytree(CHART, tmp_path / "drepmrec")
    for leftover in ("values.yaml.orig", ".values.yaml.swp", "drepmrec-0.0.1.tgz"):
        (copy / leftover).touch()
    with tarfile.open(helm.package(copy, destination=tmp_path)) as archive:
        packed = {name.removeprefix("drepmrec/") for name in archive.getnames()}
    assert packed == {str(p.relative_to(CHART)) for p in CHART.rglob("*") if p.is_file()}


def test_names_stay_within_the_limits_of_kubernetes() -> None:
    values = {
        "fullnameOverride": "a-very-long-name-for-a-recommender-of-a-very-large-shop",
        "training": {"enabled": True, "dataClaim": "interactions"},
        "refresh": {"enabled": True, "args": ["--items", "/data/items.csv"]},
    }
    found = objects(values)
    assert all(len(o["metadata"]["name"]) <= 63 for o in found)
    assert all(len(o["metadata"]["name"]) <= 52 for o in found if o["kind"] == "CronJob")
