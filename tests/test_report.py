"""What the gate saw, as a page and JSON; with a live bundle and without."""

import json

import numpy as np
import pytest
from tastes import USERS, held_out, taste_contents

from bundle.contents import BundleContents
from bundle.errors import GateError, StoreError
from bundle.manifest import Verdict
from bundle.store import BundleStore
from training.judge import Judge, judged_publish


@pytest.fixture
def good() -> BundleContents:
    return taste_contents(np.random.default_rng(0))


def test_the_report_is_a_page_and_json(tmp_path, good):
    store = BundleStore(tmp_path / "store")
    store.publish(good)
    judge = Judge(store, store.load(), held_out(good), {"new_events": 12_345})
    judge.look(store.load())
    judge.report().write(store.storage, "candidate")
    page = (store.root / "reports" / "candidate.html").read_text()
    assert "12,345" in page and page.count("data:image/svg+xml") == 2
    assert "http" not in page, "it needs nothing else"
    found = json.loads((store.root / "reports" / "candidate.json").read_text())
    assert found["gate"]["candidate"]["recall@20"] == 1
    assert found["drift"]["users"]["0.5"] == pytest.approx(1)


def test_a_first_bundle_has_a_report_too(tmp_path, good):
    store = BundleStore(tmp_path / "store")
    judge = Judge(store, None, held_out(good), {})
    version = judged_publish(store, good, judge)
    assert store.manifest(version).gate == Verdict(passed=True)
    page = (store.root / "reports" / f"{version}.html").read_text()
    assert "The first bundle of its store" in page
    assert page.count("data:image/svg+xml") == 1, "scores; there is nothing to drift from"
    found = json.loads((store.root / "reports" / f"{version}.json").read_text())
    assert found["gate"]["candidate"]["recall@20"] == 1
    assert found["gate"]["popularity"]["recall@20"] < 1
    assert found["gate"]["live"] is None
    assert found["sizes"]["users"] == {"live": None, "candidate": USERS}
    assert "popularity" in judge.report().table() and "live" not in judge.report().table()
    with pytest.raises(StoreError, match="went live meanwhile"):
        store.publish(good, Judge(store, None, held_out(good), {}))


def test_a_first_bundle_whose_onnx_differs_is_refused(tmp_path, good):
    store = BundleStore(tmp_path / "store")
    with pytest.raises(GateError, match=r"user_encoder\.onnx differs from torch by 0\.2"):
        store.publish(good, Judge(store, None, held_out(good), {}, onnx={"user_encoder": 0.2}))
    assert store.versions() == []
