"""The tables of benchmarks/quality.py: rows, pages, and that nothing is done twice."""

import json

import numpy as np
import pytest
import quality_runs
from planted import planted_dataset
from quality_jobs import FULL, TABLES, Job, ablations
from quality_report import draw, markdown, rows
from quality_runs import WITHOUT_LEARNING, Bench, plan, run, stored

from models.config import ModelConfig
from training.config import FitConfig
from training.split import make_split

SHORT = ("model.dim=8", "optim.max_epochs=2", "optim.batch_size=64")


@pytest.fixture
def bench(tmp_path):
    dataset = planted_dataset()
    split = make_split(dataset, FitConfig().split, np.random.default_rng(0))
    return Bench(dataset, split, tmp_path, everybody=SHORT, threads=1)


@pytest.mark.parametrize("table", TABLES)
def test_every_job_of_a_table_can_be_planned_and_is_compared_with_a_row(table, bench):
    jobs = TABLES[table](list(bench.dataset.modalities))
    labels = [job.label for job in jobs]
    assert len(set(labels)) == len(labels)
    assert all(job.versus is None or job.versus in labels for job in jobs)
    names = {plan(job, 0, bench).name for job in jobs}
    assert len(names) > len(jobs) / 2  # some rows are another's, or the defaults


def test_tables_share_the_run_of_the_defaults(bench):
    full = {
        plan(job, 0, bench).name
        for table in TABLES.values()
        for job in table(list(bench.dataset.modalities))
        if job.label in (FULL, "all", f"{FULL}, 0% lost")
    }
    assert len(full) == 1


def test_ablations_whose_key_does_not_exist_are_left_out():
    labels = {job.label for job in ablations([])}
    assert {"without SSS", "without BMA", "without modal line"} <= labels
    assert any("coupled" in label for label in labels) == ("coupled" in ModelConfig.model_fields)


def test_a_run_is_done_once_and_says_what_it_was(bench, monkeypatch):
    job = Job("MGCN", "mgcn")
    assert stored(job, 1, bench) is None
    first = run(job, 1, bench)
    assert first["width"] == 8
    assert first["epochs"] == 2
    assert len(first["users"]["recall@20"]) == (bench.split.test.lengths > 0).sum()
    assert np.mean(first["users"]["ndcg@20"]) == pytest.approx(first["test"]["ndcg@20"], abs=1e-6)
    assert not [path for path in bench.results.iterdir() if path.is_dir()]
    monkeypatch.setattr(quality_runs, "fit", None)  # which would be needed to do it again
    assert run(job, 1, bench) == json.loads(json.dumps(first))
    with pytest.raises(TypeError):
        run(job, 2, bench)


def test_a_killed_fit_goes_on_where_it_was(bench, monkeypatch):
    job, whole_fit, resumed = Job("LightGCN", "lightgcn_bpr"), quality_runs.fit, []

    def killed(*arguments, **options):
        resumed.append(options["resume"])
        config = arguments[3]
        first = config.model_copy(
            update={"optim": config.optim.model_copy(update={"max_epochs": 1})}
        )
        whole_fit(*arguments[:3], first, *arguments[4:], **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(quality_runs, "fit", killed)
    with pytest.raises(KeyboardInterrupt):
        run(job, 0, bench)

    def again(*arguments, **options):
        resumed.append(options["resume"])
        return whole_fit(*arguments, **options)

    monkeypatch.setattr(quality_runs, "fit", again)
    result = run(job, 0, bench)
    assert resumed == [False, True]
    assert result["epochs"] == 2


def test_models_on_ids_are_the_same_whatever_the_modalities(bench):
    ids = Job("a", "mf_bpr"), Job("b", "mf_bpr", modalities=("image",), lost=0.5)
    assert plan(ids[0], 0, bench).name == plan(ids[1], 0, bench).name
    assert plan(ids[0], 1, bench).name != plan(ids[0], 0, bench).name
    chance = {
        plan(Job("c", name), seed, bench).name for name in WITHOUT_LEARNING for seed in (0, 1)
    }
    assert len(chance) == len(WITHOUT_LEARNING)


def test_a_lost_modality_reaches_the_model(bench):
    found = plan(Job("a", lost=0.5), 0, bench).modalities
    before = sum(m.present.sum() for m in bench.dataset.modalities.values())
    assert before - sum(m.present.sum() for m in found.values()) == 30


def fake(recall, seed, **changes):
    metrics = {"recall@20": float(np.mean(recall)), "ndcg@20": 0.5}
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


def test_a_table_has_means_deviations_and_gains_over_the_users():
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
    everything = [run for of_job in runs.values() for run in of_job]
    page = markdown("A title", table, everything, ["`a command`"])
    lines = page.splitlines()
    assert lines[0] == "# A title"
    assert lines[4].startswith("| old | 0.1250 ± 0.1768 | 0.1250 ± 0.1768 | 0.5000 ± 0.0000 | 64 |")
    assert "| +0.8750 (+0.6" in lines[5]
    assert "| the same as old |" in lines[6]
    assert len({line.count("|") for line in lines[2:7]}) == 1
    assert "`a command`" in lines
    assert "a CPU" in lines


def test_a_table_for_choosing_does_not_show_test():
    table = rows([Job("a")], {"a": [fake([1.0], 0)]}, ("valid",))
    assert "test" not in table[0]
    assert "test recall" not in markdown("A title", table, [], [])


def test_the_figure_is_the_same_file_each_time(tmp_path):
    jobs = [Job(f"a {n}", curve="a", lost=n / 10) for n in range(3)] + [Job("flat")]
    table = rows(jobs, {job.label: [fake([0.5, 0.1], 0, lost=job.lost)] for job in jobs})
    for name in ("1.svg", "2.svg"):
        draw(table, jobs, tmp_path / name)
    assert (tmp_path / "1.svg").read_bytes() == (tmp_path / "2.svg").read_bytes()
    assert "<svg" in (tmp_path / "1.svg").read_text()
