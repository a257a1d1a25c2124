"""Upgrades change nothing that Kubernetes does not let change."""

import helm_python as helm
import pytest
import yaml
from chart_rendering import CHART, NAMESPACE, REDIS, RELEASE, example, of_kind


def immutable(values, **options):
    """What Kubernetes does not let an upgrade change, by kind and name."""
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
def test_an_upgrade_from_the_defaults_changes_nothing_that_cannot_be_changed(later):
    values = example(later)
    if later == "minimal":  # a claim keeps its access mode: to be chosen at the first installation
        values["store"]["volume"]["accessModes"] = ["ReadWriteMany"]
    before = immutable({})
    after = immutable(values, is_upgrade=True, revision=2)
    shared = before.keys() & after.keys()
    assert ("Deployment", "shop-drepmrec") in shared
    assert {key: before[key] for key in shared} == {key: after[key] for key in shared}


def test_an_upgrade_of_the_chart_changes_nothing_that_cannot_be_changed(tmp_path):
    with helm.Chart.load(helm.package(CHART, destination=tmp_path, version="9.9.9")) as newer:
        texts = newer.render(REDIS, name=RELEASE, namespace=NAMESPACE)
    [text] = [t for path, t in texts.items() if path.endswith("redis/bundled.yaml")]
    _, newer_set = yaml.safe_load_all(text)
    assert newer_set["metadata"]["labels"]["helm.sh/chart"] == "drepmrec-9.9.9"
    [older] = of_kind("StatefulSet", REDIS).values()
    assert newer_set["spec"] == older["spec"]
