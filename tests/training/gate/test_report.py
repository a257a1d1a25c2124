"""The report of the gate, as a page and JSON, with and without a live bundle."""

import json
from pathlib import Path

import numpy as np
import pytest

from bundle.errors import GateError, StoreError
from bundle.format.manifest import Verdict
from bundle.format.writer import BundleContents
from bundle.store.store import BundleStore
from tests.support.data.planted_groups import USERS, held_out, planted_contents
from training.gate.publish import PublicationGate, publish_through_gate


@pytest.fixture
def contents() -> BundleContents:
    return planted_contents(np.random.default_rng(0))


def test_the_report_is_a_page_and_json(tmp_path: Path, contents: BundleContents) -> None:
    store = BundleStore(tmp_path / "store")
    store.publish(contents)
    judge = PublicationGate(store, store.load(), held_out(contents), {"new_events": 12_345})
    judge.compare(store.load())
    judge.report().write(store.storage, "candidate")
    page = (Path(store.root) / "reports" / "candidate.html").read_text()
    assert "12,345" in page and page.count("data:image/svg+xml") == 2
    assert "http" not in page, "it needs nothing else"
    found = json.loads((Path(store.root) / "reports" / "candidate.json").read_text())
    assert found["gate"]["candidate"]["recall@20"] == 1
    assert found["drift"]["users"]["0.5"] == pytest.approx(1)


def test_a_first_bundle_has_a_report_too(tmp_path: Path, contents: BundleContents) -> None:
    store = BundleStore(tmp_path / "store")
    judge = PublicationGate(store, None, held_out(contents), {})
    version = publish_through_gate(store, contents, judge)
    assert store.manifest(version).gate == Verdict(passed=True)
    page = (Path(store.root) / "reports" / f"{version}.html").read_text()
    assert "The first bundle of its store" in page
    assert page.count("data:image/svg+xml") == 1, "scores; there is nothing to drift from"
    found = json.loads((Path(store.root) / "reports" / f"{version}.json").read_text())
    assert found["gate"]["candidate"]["recall@20"] == 1
    assert found["gate"]["popularity"]["recall@20"] < 1
    assert found["gate"]["live"] is None
    assert found["sizes"]["users"] == {"live": None, "candidate": USERS}
    assert "popularity" in judge.report().table() and "live" not in judge.report().table()
    with pytest.raises(StoreError, match="was published in the meantime"):
        store.publish(contents, PublicationGate(store, None, held_out(contents), {}))


def test_a_first_bundle_whose_onnx_differs_is_refused(
    tmp_path: Path, contents: BundleContents
) -> None:
    store = BundleStore(tmp_path / "store")
    with pytest.raises(GateError, match=r"user_encoder\.onnx differs from torch by 0\.2"):
        store.publish(
            contents,
            PublicationGate(store, None, held_out(contents), {}, onnx={"user_encoder": 0.2}),
        )
    assert store.versions() == []
