"""Upgrades: fields that are immutable in Kubernetes stay as they are."""

from pathlib import Path
from typing import Any

import helm_python as helm
import pytest

from tests.helm.rendering import CHART, NAMESPACE, REDIS, RELEASE, Object, example, of_kind, parsed


def immutable(values: Object, **options: Any) -> dict[tuple[str, str], Object]:
    """Immutable fields of the objects, by kind and name."""
    fields = {
        "Deployment": ["selector"],
        "StatefulSet": ["selector", "serviceName", "volumeClaimTemplates"],
        "Service": ["clusterIP"],
        "PersistentVolumeClaim": ["accessModes", "storageClassName"],
    }
    return {
        (kind, name): {field: found["spec"].get(field) for field in names}
        for kind, names in fields.items()
        for name, found in of_kind(kind, values, **options).items()
    }


@pytest.mark.parametrize("later", ["production", "gpu", "minimal"])
def test_an_upgrade_from_the_defaults_changes_nothing_that_cannot_be_changed(later: str) -> None:
    values = example(later)
    if later == "minimal":  # A claim's access modes are chosen at the first installation.
        values["store"]["volume"]["accessModes"] = ["ReadWriteMany"]
    before = immutable({})
    after = immutable(values, is_upgrade=True, revision=2)
    shared = before.keys() & after.keys()
    assert ("Deployment", "shop-drepmrec") in shared
    assert {key: before[key] for key in shared} == {key: after[key] for key in shared}


def test_an_upgrade_of_the_chart_changes_nothing_that_cannot_be_changed(tmp_path: Path) -> None:
    with helm.Chart.load(helm.package(CHART, destination=tmp_path, version="9.9.9")) as newer:
        texts = newer.render(REDIS, name=RELEASE, namespace=NAMESPACE)
    [text] = [t for path, t in texts.items() if path.endswith("redis/bundled.yaml")]
    _, newer_set = parsed(text)
    assert newer_set["metadata"]["labels"]["helm.sh/chart"] == "drepmrec-9.9.9"
    [older] = of_kind("StatefulSet", REDIS).values()
    assert newer_set["spec"] == older["spec"]
