"""Tables of benchmarks/quality: rows, pages, and that no run is made twice."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.quality import __main__ as quality
from benchmarks.quality import runner
from benchmarks.quality.__main__ import closed_forms, not_run, possible
from benchmarks.quality.bench import Bench
from benchmarks.quality.report import draw, markdown, numbers, rows
from benchmarks.quality.runner import WITHOUT_CHANCE, hit_rates, plan, run, stored
from benchmarks.quality.tables import FULL, INTERACTIONS, SINGLE, TABLES, Job, ablations
from bundle.csr import Csr
from models.config import ModelConfig
from models.trainable import Trainable
from tests.benchmarks.planted_bench import planted_bench
from tests.support.data.planted_groups import planted_dataset
from training.data.split import Split
from training.fitting.checkpoint import Progress
from training.fitting.trainer import fit_model

SHORT = ("model.dim=8", "optim.max_epochs=2", "optim.batch_size=64")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return planted_bench(tmp_path, SHORT)


@pytest.mark.parametrize("table", TABLES)
def test_every_job_of_a_table_can_be_planned_and_is_compared_with_a_row(
    table: str, bench: Bench
) -> None:
    jobs = TABLES[table](list(bench.dataset.modalities))
    labels = [job.label for job in jobs]
    assert len(set(labels)) == len(labels)
    assert all(job.versus is None or job.versus in labels for job in jobs)
    names = {plan(job, 0, bench).name for job in jobs}
    assert len(names) > len(jobs) / 2  # some rows are another's, or the defaults


def test_tables_share_the_run_of_the_defaults(bench: Bench) -> None:
    full = {
        plan(job, 0, bench).name
        for table in TABLES.values()
        for job in table(list(bench.dataset.modalities))
        if job.label in (SINGLE, "all", f"{SINGLE}, 0% lost")
    }
    assert len(full) == 1
    assert plan(Job(FULL), 0, bench).name not in full


def test_models_that_need_features_are_left_out_of_data_without(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [Job(FULL), Job("VBPR", "vbpr"), Job("MGCN", "on:mgcn"), Job("EASE", "ease")]
    assert possible(jobs, bench) == jobs
    text = bench.dataset.modalities["text"]
    graph = replace(text, features=text.features[:, :0])
    for modalities, reason in (
        ({**bench.dataset.modalities, "text": graph}, "text has none"),
        ({}, "the data have no modality"),
    ):
        without = replace(bench, dataset=replace(bench.dataset, modalities=modalities))
        assert possible(jobs, without) == [jobs[0], jobs[3]]
        assert capsys.readouterr().err.splitlines() == [
            f"{label} is left out: it needs features of each modality, and {reason}"
            for label in ("VBPR", "MGCN")
        ]


def test_ablations_whose_key_does_not_exist_are_left_out() -> None:
    labels = {job.label for job in ablations([])}
    assert {"without SSS", "without BMA", "without modal line"} <= labels
    assert any("coupled" in label for label in labels) == ("coupled" in ModelConfig.model_fields)


def test_rows_that_were_not_run_are_named_once(bench: Bench) -> None:
    jobs = [Job("a"), Job("b", "mf_bpr"), Job("c, over b", versus="b"), Job("d", form=("x", 0.1))]
    assert not_run(jobs, {}, bench) == " Not run: a; b; d."
    assert not_run(jobs, {"a": [], "b": [], "c, over b": [], "d": []}, bench) == ""


def test_a_run_is_done_once_and_says_what_it_was(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job("MGCN", "mgcn")
    assert stored(job, 1, bench) is None
    first = run(job, 1, bench)
    assert first["width"] == 8
    assert first["epochs"] == 2
    assert len(first["users"]["recall@20"]) == (bench.split.test.lengths > 0).sum()
    assert np.mean(first["users"]["ndcg@20"]) == pytest.approx(first["test"]["ndcg@20"], abs=1e-6)
    name = plan(job, 1, bench).name
    assert name.startswith("mgcn-seed1-")
    assert first["run"] == name
    assert [path.name for path in (bench.runs / "planted").iterdir()] == [f"{name}.json.gz"]
    monkeypatch.setattr(runner, "fit_model", None)  # which would be needed to do it again
    assert run(job, 1, bench) == json.loads(json.dumps(first))
    assert run(job, 1, replace(bench, name="renamed")) == run(job, 1, bench)
    with pytest.raises(TypeError):
        run(job, 2, bench)


def test_a_killed_fit_goes_on_where_it_was(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job, resumed = Job("LightGCN", "lightgcn_bpr"), list[bool]()
    whole_fit: Callable[..., tuple[Trainable, Progress]] = fit_model

    def killed(*arguments: Any, **options: Any) -> None:
        resumed.append(options["resume"])
        config = arguments[3]
        first = config.model_copy(
            update={"optim": config.optim.model_copy(update={"max_epochs": 1})}
        )
        whole_fit(*arguments[:3], first, *arguments[4:], **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "fit_model", killed)
    with pytest.raises(KeyboardInterrupt):
        run(job, 0, bench)

    def again(*arguments: Any, **options: Any) -> tuple[Trainable, Progress]:
        resumed.append(options["resume"])
        return whole_fit(*arguments, **options)

    monkeypatch.setattr(runner, "fit_model", again)
    result = run(job, 0, bench)
    assert resumed == [False, True]
    assert result["epochs"] == 2


def test_models_on_ids_are_the_same_whatever_the_modalities(bench: Bench) -> None:
    ids = Job("a", "mf_bpr"), Job("b", "mf_bpr", modalities=("image",), lost=0.5)
    assert plan(ids[0], 0, bench).name == plan(ids[1], 0, bench).name
    assert plan(ids[0], 1, bench).name != plan(ids[0], 0, bench).name
    chance = {plan(Job("c", name), seed, bench).name for name in WITHOUT_CHANCE for seed in (0, 1)}
    assert len(chance) == len(WITHOUT_CHANCE)


def test_closed_forms_do_not_depend_on_content_and_say_what_valid_chose(bench: Bench) -> None:
    job = Job("EASE, 64 columns", "ease", columns=64)
    bare = replace(bench, dataset=replace(bench.dataset, modalities={}, fingerprint="another"))
    assert plan(job, 1, bare).name == plan(job, 0, bench).name
    assert plan(replace(job, columns=None), 0, bench).name != plan(job, 0, bench).name
    found = run(job, 0, bench)
    assert found["chosen"] == {"l2": bench.ease_l2[64]}
    assert found["cpu_seconds"] > 0
    table = rows([job], {job.label: [found]})
    assert f"EASE, 64 columns: l2 {bench.ease_l2[64]:g}." in closed_forms(table)
    assert closed_forms([row | {"chosen": None} for row in table]) == ""


def test_rows_of_other_data_keep_the_runs_that_the_page_has(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "open_bench", lambda *_, **__: bench)
    folders = ["--runs", str(tmp_path), "--numbers", str(tmp_path), "--pages", str(tmp_path)]
    command = ["x", "baselines", "--data", "planted", "--name", "page", "--seeds", "0", *folders]
    monkeypatch.setattr("sys.argv", [*command, "--only", "MF, BPR"])
    quality.main()
    changed = replace(bench.dataset, modalities={}, fingerprint="another")
    bench = replace(bench, dataset=changed)  # which `open_bench` reads from here on
    monkeypatch.setattr("sys.argv", [*command, "--only", "EASE"])
    quality.main()
    numbers = tmp_path / "page.json"
    assert "MF, BPR" not in {row["label"] for row in json.loads(numbers.read_text())["rows"]}
    bench = replace(bench, dataset=planted_dataset())
    monkeypatch.setattr("sys.argv", [*command, "--no-fit"])
    quality.main()
    bench = replace(bench, dataset=changed)
    monkeypatch.setattr("sys.argv", [*command, "--no-fit", "--keep"])
    quality.main()
    found = json.loads(numbers.read_text())
    labels = [row["label"] for row in found["rows"]]
    assert labels.index("EASE") < labels.index("MF, BPR")
    assert planted_dataset().fingerprint[:12] in found["data"]
    page = (tmp_path / "page.md").read_text()
    assert "| CPU s |" in page
    assert "iALS that of alpha" in page


def test_newer_keys_that_change_nothing_are_not_part_of_a_run(bench: Bench) -> None:
    averaged = Job("a", assignments=("optim.averaging=0.9",))
    assert plan(averaged, 0, bench).identity["config"]["optim"]["averaging"] == 0.9
    neutral = replace(averaged, assignments=("optim.averaging=0",))
    assert "averaging" not in plan(neutral, 0, bench).identity["config"]["optim"]
    single = replace(averaged, assignments=INTERACTIONS)
    sized = replace(
        averaged, assignments=(*INTERACTIONS, "optim.batch_users=7", "model.linear_l2=3")
    )
    assert plan(single, 0, bench).name == plan(sized, 0, bench).name != plan(neutral, 0, bench).name


def test_a_lost_modality_reaches_the_model(bench: Bench) -> None:
    found = plan(Job("a", lost=0.5), 0, bench).modalities
    before = sum(m.present.sum() for m in bench.dataset.modalities.values())
    assert before - sum(m.present.sum() for m in found.values()) == 30


def fake(recall: list[float], seed: int, **changes: Any) -> dict[str, Any]:
    metrics = {"recall@20": float(np.mean(recall)), "ndcg@20": 0.5, "coverage@20": 0.25}
    return {
        "model": "drepmrec",
        "config": {"model": {}},
        "settings": {},
        "modalities": [],
        "lost": 0.0,
        "seed": seed,
        "epochs": 3,
        "seconds": 1.5,
        "width": 64,
        "valid": metrics,
        "test": metrics,
        "users": {"recall@20": recall, "ndcg@20": [0.5] * len(recall)},
        "versions": {"torch": "1"},
        "hardware": "a CPU",
    } | changes


def test_a_table_has_means_deviations_and_gains_over_the_users() -> None:
    jobs = [Job("old"), Job("new", versus="old"), Job("twin", versus="old"), Job("not run")]
    runs = {
        "old": [fake([0.0, 0.0, 1.0, 0.0], 0), fake([0.0, 0.0, 0.0, 0.0], 1)],
        "new": [fake([1.0] * 4, 0, settings={"x": 1}), fake([1.0] * 4, 1, settings={"x": 1})],
        "twin": [fake([0.0, 0.0, 1.0, 0.0], 0), fake([0.0, 0.0, 0.0, 0.0], 1)],
    }
    table = rows(jobs, runs)
    assert [row["label"] for row in table] == ["old", "new", "twin"]
    assert table[0]["test"]["recall@20"] == {
        "mean": pytest.approx(0.125),
        "sd": pytest.approx(0.25 / 2**0.5),
        "seeds": [0.25, 0.0],
    }
    assert table[1]["gain"]["recall@20"]["mean"] == pytest.approx(0.875)
    found = numbers("A title", table, runs, chosen="Chosen.", data="Data.", command="a command")
    page = markdown(found, "figure.svg")
    lines = page.splitlines()
    assert lines[0] == "# A title"
    old = "| old | 0.1250 ± 0.1768 | 0.1250 ± 0.1768 | 0.5000 ± 0.0000 | 0.25 | 64 |"
    assert lines[4].startswith(old)
    assert "| +0.8750 (+0.6" in lines[5]
    assert "| the same as old |" in lines[6]
    assert len({line.count("|") for line in lines[2:7]}) == 1
    assert "`a command`" in lines
    assert "a CPU" in lines


def test_variants_are_compared_by_seed_and_their_p_values_corrected() -> None:
    jobs = [Job("old"), *(Job(name, versus="old") for name in ("new", "level", "twin"))]
    other = {"settings": {"x": 1}}
    runs = {
        "old": [fake([0.0, 0.0, 0.0, 0.5], 0), fake([1.0] * 4, 1)],
        "new": [fake([1.0] * 4, 0, **other)],  # better than seed 0 of the old, level with seed 1
        "level": [fake([0.0, 0.0, 0.0, 0.5], 0, **other)],
        "twin": [fake([0.0, 0.0, 0.0, 0.5], 0)],
    }
    _, new, level, twin = rows(jobs, runs, one_question=True)
    gain = new["gain"]["recall@20"]
    assert gain["mean"] == pytest.approx(0.875)
    assert gain["holm"] == pytest.approx(2 * gain["p"])  # the twin is not a variant
    assert level["gain"]["recall@20"]["holm"] == 1
    assert "holm" not in twin["gain"]["recall@20"]
    table = rows(jobs, runs)
    assert table[1]["gain"]["recall@20"]["mean"] == pytest.approx(1 - 4.5 / 8)
    assert "holm" not in table[1]["gain"]["recall@20"]
    for one_question in (True, False):
        table = rows(jobs, runs, one_question=one_question)
        page = markdown(numbers("", table, runs, chosen="", data="", command=""), "figure.svg")
        assert ("(Holm 1.0000), over old" in page) is ("(Holm 1979)" in page) is one_question


def test_hit_rates_are_in_a_table_as_soon_as_one_row_has_them() -> None:
    rates = {"≤ 7": 0.01, "8–31": 0.04, "≥ 32": 0.3}
    runs = {
        "with": [fake([1.0], 0, hit_rates=rates), fake([1.0], 1, hit_rates=rates | {"≥ 32": 0.4})],
        "without": [fake([1.0], 0), fake([1.0], 1, hit_rates=rates)],
    }
    table = rows([Job("with"), Job("without")], runs)
    assert table[1]["hit_rates"] is None
    page = markdown(numbers("", table, runs, chosen="", data="", command=""), "figure.svg")
    assert "| 0.25 | 0.010, 0.040, 0.350 | 64 |" in page
    assert "| 0.25 | – | 64 |" in page
    assert "32 or more train interactions" in page


def test_hit_rates_are_shares_of_the_pairs_of_each_group() -> None:
    n_items, n_users = 60, 50
    train = [(user, item) for item in (0, 1) for user in range(40 if item else 10)]
    test = [(user, item) for item in (0, 1, 2) for user in range(40, 44)]
    parts = [np.array(pairs, np.int64).reshape(-1, 2) for pairs in (train, [], test)]
    matrices = [Csr.from_pairs(of[:, 0], of[:, 1], n_users, n_items) for of in parts]
    train_part, valid_part, test_part = matrices
    split = Split(train_part, valid_part, test_part, how="")
    scores = torch.zeros(n_users, n_items) - torch.arange(n_items)
    scores[:, 1] = -1000  # the item with 40 interactions is last
    scores[:41, 2] = 1  # without interactions, and first for one of its four users
    scores[41:, 2] = -1000
    found = hit_rates(lambda users: scores[torch.from_numpy(users)].clone(), split)
    assert found == {"≤ 7": 0.25, "8–31": 1.0, "≥ 32": 0.0}


def test_a_table_for_choosing_does_not_show_test() -> None:
    runs = {"a": [fake([1.0], 0)]}
    table = rows([Job("a")], runs, ("valid",))
    assert "test" not in table[0]
    found = numbers("A title", table, runs, chosen="", data="", command="")
    assert "valid recall" in markdown(found, "figure.svg")
    assert "test recall" not in markdown(found, "figure.svg")


def test_the_figure_is_the_same_file_each_time(tmp_path: Path) -> None:
    jobs = [Job(f"a {n}", curve="a", lost=n / 10) for n in range(3)] + [Job("flat")]
    runs = {job.label: [fake([0.5, 0.1], 0, lost=job.lost)] for job in jobs}
    found = numbers("A title", rows(jobs, runs), runs, chosen="", data="", command="")
    assert "![A title](figure.svg)" in markdown(found, "figure.svg")
    for name in ("1.svg", "2.svg"):
        draw(found, tmp_path / name)
    assert (tmp_path / "1.svg").read_bytes() == (tmp_path / "2.svg").read_bytes()
    assert "<svg" in (tmp_path / "1.svg").read_text()
