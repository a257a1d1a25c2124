"""`evaluate`: metrics, baselines and search options."""

import json
from pathlib import Path

import pytest

from bundle.errors import InputError
from bundle.store.store import BundleStore
from tests.support.cli import FAST, training
from training.baselines import closed_form, simple
from training.cli.evaluate import evaluate
from training.fitting.config import SimpleBaseline

pytestmark = pytest.mark.slow


def test_evaluate_prints_a_table_or_one_json_object(fitted: tuple[Path, Path]) -> None:
    data, store = fitted
    table = training("evaluate", data, "--store", store).stdout
    for name in ("recall@20", "ndcg@20", "precision@20", "map@20", "coverage@20"):
        assert name in table
    for row in ("DRepMRec", "popularity", "item_cf", "ease", "ials", "lightgcn"):
        assert row in table
    done = training("evaluate", data, "--store", store, "--json", "--baseline", "popularity")
    found = json.loads(done.stdout)
    assert f"{found['recall@20']:.4f}" in table
    assert found["recall@20"] > 2 * found["baselines"]["popularity"]["recall@20"]
    assert found["bundle_version"] == BundleStore(store).current()
    assert found["users"] > 0
    valid = training(
        "evaluate", data, "--store", store, "--json", "--no-baselines", "--split=valid"
    )
    report = BundleStore(store).load().report
    assert json.loads(valid.stdout)["recall@20"] == pytest.approx(report["valid"]["recall@20"])


def test_evaluate_has_no_ease_where_items_by_items_do_not_fit(
    fitted: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, store = fitted
    monkeypatch.setattr(closed_form, "MAX_ITEMS", 399)
    with pytest.raises(InputError, match=r"ease needs a matrix .* these data have 400"):
        evaluate(data, str(store), baseline=[SimpleBaseline.EASE], threads=1)
    monkeypatch.setattr(simple, "evaluate_baseline", lambda *_: {})
    evaluate(data, str(store), as_json=True, threads=1)
    printed = capsys.readouterr()
    assert "ease is left out: more than 399 items" in printed.err
    assert list(json.loads(printed.out)["baselines"]) == [
        "popularity",
        "item_cf",
        "ials",
        "lightgcn",
    ]


def test_evaluate_compares_search_options_with_none(
    fitted: tuple[Path, Path], tmp_path: Path
) -> None:
    data, store = fitted
    arm = tmp_path / "arm.json"
    command = ("evaluate", data, "--store", store, "--no-baselines", "--options", arm)
    arm.write_text('{"exclude_seen": true}')
    found = json.loads(training(*command, "--json").stdout)
    assert found["with_options"] == {name: found[name] for name in found["with_options"]}
    arm.write_text('{"diversity": 0.9}')
    diverse = json.loads(training(*command, "--json").stdout)
    assert diverse["recall@20"] == found["recall@20"]
    assert diverse["with_options"]["coverage@20"] > diverse["coverage@20"]
    assert "with options" in training(*command).stdout
    arm.write_text('{"weights": "sound:2"}')
    assert "weights: 'sound:2' is not NAME:NUMBER" in training(*command, code=2).stderr
    arm.write_text('{"diversity": 5}')
    assert f"{arm}: diversity: " in training(*command, code=2).stderr
    published = training(
        "fit", data, "--store", tmp_path / "store", *FAST, "--gate-options", arm, code=2
    )
    assert f"{arm}: diversity: " in published.stderr
