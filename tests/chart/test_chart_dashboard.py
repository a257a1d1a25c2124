"""The dashboard and the alerts ask for what the service exports."""

import json
import re
from itertools import combinations

import pytest
from chart_rendering import CHART, MATRIX, NAME, of_kind

from service.metrics import Metrics

SCRAPED = {"namespace", "job", "pod", "le"}
"""Labels that Prometheus adds."""


def exported():
    """Labels of each sample that the service exports."""
    registry = Metrics().registry
    own = {name: set(metric._labelnames) for name, metric in registry._names_to_collectors.items()}
    # The process's metrics are known when they are collected.
    return {sample.name: set() for f in registry.collect() for sample in f.samples} | own


def dashboard():
    return json.loads((CHART / "dashboards" / "drepmrec.json").read_text())


def expressions():
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for rule in rules():
        yield rule["alert"], rule["expr"]


def rules():
    [group] = of_kind("PrometheusRule", MATRIX["production"])[NAME]["spec"]["groups"]
    return group["rules"]


@pytest.mark.parametrize(("title", "expression"), list(expressions()))
def test_metrics_and_labels_are_those_of_the_service(title, expression):
    known = exported()
    found = re.findall(r"\b((?:drepmrec|process)_\w+)\{([^}]*)\}", expression)
    assert found
    # Every name has its selector: without one it would be of all releases.
    assert len(found) == len(re.findall(r"\b(?:drepmrec|process)_\w+", expression))
    grouped = re.findall(r"by \(([^)]*)\)", expression)
    for metric, selector in found:
        assert metric in known, title
        chosen = set(re.findall(r"(\w+)\s*[=!]~?", selector))
        assert {"namespace", "job"} <= chosen
        used = chosen | {label.strip() for group in grouped for label in group.split(",")}
        assert used <= known[metric] | SCRAPED, title


def test_the_dashboard_can_be_laid_out():
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    boxes = [panel["gridPos"] for panel in panels]
    assert all(box["x"] + box["w"] <= 24 for box in boxes)
    for one, other in combinations(boxes, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above


def test_the_dashboard_has_no_data_source_of_its_own():
    found = dashboard()
    variables = {variable["name"] for variable in found["templating"]["list"]}
    assert variables == {"datasource", "namespace", "job"}
    for panel in found["panels"]:
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["targets"]


def test_grafana_gets_the_dashboard_as_it_is():
    made = of_kind("ConfigMap", MATRIX["production"])[f"{NAME}-dashboard"]
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(made["data"]["drepmrec.json"]) == dashboard()
    assert f"{NAME}-dashboard" not in of_kind("ConfigMap")
