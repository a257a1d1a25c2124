"""Stored runs, their index, and the pages that are made of them."""

import csv
import json
from pathlib import Path

import pytest

from benchmarks.environment import ROOT
from benchmarks.quality import replay_report, report
from benchmarks.quality.bench import RUNS
from benchmarks.quality.cold_start import report as cold_start_report
from benchmarks.quality.index import INDEX, index
from benchmarks.quality.pages import FORESTS, NUMBERS, PAGES, render
from benchmarks.quality.runner import SUFFIX

RESULTS = sorted((ROOT / NUMBERS).glob("*.json"))


@pytest.fixture
def few(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Folders of runs, numbers and pages with one run that a page shows."""
    runs, numbers, pages = (tmp_path / name for name in ("runs", "numbers", "pages"))
    stored = next((ROOT / RUNS).glob(f"tiktok/*{SUFFIX}"))
    for folder in (runs / "tiktok", numbers, pages):
        folder.mkdir(parents=True)
    (runs / "tiktok" / stored.name).write_bytes(stored.read_bytes())
    rows = [{"runs": [stored.name.removesuffix(SUFFIX)]}]
    (numbers / "a-table.json").write_text(json.dumps({"rows": rows}))
    return runs, numbers, pages


def test_the_index_is_that_of_the_files() -> None:
    made = index(ROOT / RUNS, ROOT / NUMBERS, ROOT / PAGES)
    said = "run: python -m benchmarks.quality.index"
    assert (ROOT / RUNS / INDEX).read_text() == made, said


def test_every_run_is_shown_by_a_page() -> None:
    with (ROOT / RUNS / INDEX).open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) > 100
    assert [line["run"] for line in lines if not line["pages"]] == []


def test_an_index_names_the_pages_that_show_a_run(few: tuple[Path, Path, Path]) -> None:
    pages = few[-1]
    (line,) = csv.DictReader(index(*few).splitlines())
    assert line["dataset"] == "tiktok"
    assert line["pages"] == "a-table"
    assert line["run"].startswith(f"{line['model'].replace(':', '-')}-seed{line['seed']}-")
    (pages / "text.md").write_text(f"see [a run](../runs/tiktok/{line['run']}{SUFFIX})")
    (line,) = csv.DictReader(index(*few).splitlines())
    assert line["pages"] == "a-table text"


def test_a_run_that_a_page_shows_must_be_there(few: tuple[Path, Path, Path]) -> None:
    runs, numbers, pages = few
    (pages / "text.md").write_text("drepmrec-seed0-0123456789abcdef")
    with pytest.raises(FileNotFoundError, match="drepmrec-seed0-0123456789abcdef"):
        index(runs, numbers, pages)


@pytest.mark.parametrize("numbers", RESULTS, ids=lambda path: path.stem)
def test_a_page_is_what_its_numbers_make(
    numbers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (report, replay_report):
        monkeypatch.setattr(module, "draw", lambda *_: None)  # figures depend on matplotlib
    render(numbers, tmp_path)
    page = f"{numbers.stem}.md"
    said = "run: python -m benchmarks.quality.pages"
    assert (tmp_path / page).read_text() == (ROOT / PAGES / page).read_text(), said


def test_every_page_and_figure_has_numbers() -> None:
    stems = {path.stem for path in (ROOT / PAGES).iterdir() if path.name != "README.md"}
    assert stems == {path.stem for path in RESULTS} | set(FORESTS)


def test_numbers_of_an_unknown_kind_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"kind": "poem"}')
    with pytest.raises(SystemExit, match="unknown kind 'poem'"):
        render(tmp_path / "a.json", tmp_path)


@pytest.mark.parametrize("numbers", RESULTS, ids=lambda path: path.stem)
def test_a_page_says_how_it_was_made(numbers: Path) -> None:
    found = json.loads(numbers.read_text())
    module, *rest = found["command"].removeprefix("python -m ").split()
    path = ROOT / module.replace(".", "/")
    assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()
    assert rest[rest.index("--name") + 1] == numbers.stem
    assert not any(Path(argument).is_absolute() for argument in rest)


def test_a_cold_start_page_compares_with_known_items_and_trained_users(tmp_path: Path) -> None:
    gain = {"mean": 0.1, "low": -0.05, "high": 0.2, "p": 0.04}
    kept = {
        "0.98": {"share": 0.975, "new": 0.2, "all": 0.3},
        "0.9": {"share": 0.9, "new": 0.4, "all": 0.3},
    }
    row = {"among_new": {"1": 0.125, "20": 0.5}, "alone": 0.4, "kept": kept}
    ours = row | {"kept": kept | {"exported": kept["0.98"]}}
    found = {
        "kind": "items",
        "models": {"ours": ours, "k-NN": row},
        "gains": dict.fromkeys(("among_new/1", "among_new/20", "0.98/new", "0.98/all"), gain),
        "folds": 4,
        "pairs": 70,
        "data": "a shop",
        "command": "a command",
        "hardware": "a CPU",
        "versions": {"x": 1},
    }
    (tmp_path / "page.json").write_text(json.dumps(found))
    page = render(tmp_path / "page.json", tmp_path)
    assert "# New items: a shop" in page
    assert "| k-NN | 0.1250 | 0.5000 |" in page
    assert "| 0.98 | ours | × 0.975 | 0.2000 | 0.3000 |" in page
    assert "| exported | ours |" in page
    assert page.count("+0.1000 (-0.0500 … +0.2000), p 0.0400") == 4
    assert "(page.svg)" in page
    first = (tmp_path / "page.svg").read_bytes()
    render(tmp_path / "page.json", tmp_path)
    assert (tmp_path / "page.svg").read_bytes() == first
    run = {"seed": 3, "users": 9, "trained": 0.4, "folded in from at most 1": 0.1}
    page = cold_start_report.markdown(found | {"kind": "users", "runs": [run]}, "")
    assert "| folded in from at most 1 | 0.1000 | 0.2500 |" in page
