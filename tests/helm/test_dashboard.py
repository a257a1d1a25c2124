"""Metrics in the dashboard and the alerts: the service exports each of them, with these labels."""

import json
import re
from collections.abc import Iterator
from itertools import combinations

import pytest
from prometheus_client.metrics import MetricWrapperBase

from service.observability.metrics import Metrics
from tests.helm.rendering import CHART, MATRIX, NAME, Object, of_kind

SCRAPED = {"namespace", "job", "pod", "le"}
"""Labels that Prometheus adds."""


def exported() -> dict[str, set[str]]:
    """Labels of each sample that the service exports, by the sample's name."""
    registry = Metrics().registry
    collectors = registry._names_to_collectors.items()
    own = {
        name: set(metric._labelnames)
        for name, metric in collectors
        if isinstance(metric, MetricWrapperBase)
    }
    # The names of the process's metrics are known only once they are collected.
    return {sample.name: set() for f in registry.collect() for sample in f.samples} | own


def dashboard() -> Object:
    found: Object = json.loads((CHART / "dashboards" / "drepmrec.json").read_text())
    return found


def expressions() -> Iterator[tuple[str, str]]:
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for rule in rules():
        yield rule["alert"], rule["expr"]


def rules() -> list[Object]:
    groups: list[Object] = of_kind("PrometheusRule", MATRIX["production"])[NAME]["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize(("title", "expression"), list(expressions()))
def test_metrics_and_labels_are_those_of_the_service(title: str, expression: str) -> None:
    known = exported()
    found = re.findall(r"\b((?:drepmrec|process)_\w+)\{([^}]*)\}", expression)
    assert found
    # Every name has a selector: without one the expression would cover all releases.
    assert len(found) == len(re.findall(r"\b(?:drepmrec|process)_\w+", expression))
    labels = SCRAPED.union(*(known.get(metric, set()) for metric, _ in found))
    labels.update(re.findall(r'label_replace\(.*?, "(\w+)"', expression))
    for group in re.findall(r"by \(([^)]*)\)", expression):
        assert {label.strip() for label in group.split(",")} <= labels, title
    for metric, selector in found:
        assert metric in known, title
        chosen = set(re.findall(r"(\w+)\s*[=!]~?", selector))
        assert {"namespace", "job"} <= chosen
        assert chosen <= known[metric] | SCRAPED, title


def test_the_dashboard_can_be_laid_out() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    boxes = [panel["gridPos"] for panel in panels]
    assert all(box["x"] + box["w"] <= 24 for box in boxes)
    for one, other in combinations(boxes, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above


def test_the_dashboard_has_no_data_source_of_its_own() -> None:
    found = dashboard()
    variables = {variable["name"] for variable in found["templating"]["list"]}
    assert variables == {"datasource", "namespace", "job"}
    for panel in found["panels"]:
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["targets"]


def test_grafana_gets_the_dashboard_as_it_is() -> None:
    made = of_kind("ConfigMap", MATRIX["production"])[f"{NAME}-dashboard"]
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(made["data"]["drepmrec.json"]) == dashboard()
    assert f"{NAME}-dashboard" not in of_kind("ConfigMap")
