"""A finished table on disk: numbers as JSON, a page beside them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from provenance import command
from quality_report import Runs, markdown
from quality_runs import Bench

from training.config import load_config
from training.dataset import Dataset
from training.split import make_split


def open_bench(folder: Path, results: Path, everybody: tuple[str, ...] = (), **more: Any) -> Bench:
    """Read and split the data of a folder.

    Args:
        folder: with interactions and features.
        results: where finished runs are.
        everybody: assignments for all models; those of the split count here.
        more: further attributes of `Bench`.
    """
    config = load_config(None, list(everybody))
    dataset = Dataset.read(folder, min_weight=config.min_weight)
    split = make_split(dataset, config.split, np.random.default_rng(config.split.seed))
    return Bench(dataset, split, results, everybody=everybody, **more)


def write(
    out: Path,
    title: str,
    table: list[dict[str, Any]],
    runs: Runs,
    folder: Path,
    bench: Bench,
    chosen: str,
    figure: str | None = None,
) -> None:
    """Write the table and print its page.

    Args:
        out: the JSON file; the page's name differs in its suffix.
        title: of the page.
        table: see `quality_report.rows`.
        runs: all runs of the table.
        folder: of the data; pages name its last part only.
        bench: the data and the split.
        chosen: a sentence on what was chosen on valid.
        figure: a file beside the page.
    """
    how = [chosen, "", *_about(folder, bench)]
    out.parent.mkdir(parents=True, exist_ok=True)
    content = {"title": title, "about": [line for line in how if line], "rows": table}
    out.write_text(json.dumps(content, indent=1) + "\n")
    everything = [run for of_job in runs.values() for run in of_job]
    page = markdown(title, table, everything, how, figure)
    out.with_suffix(".md").write_text(page)
    print(page)


def _about(folder: Path, bench: Bench) -> list[str]:
    """Data, split and the command, without the folders of this machine."""
    data, split, name = bench.dataset, bench.split, folder.resolve().name
    return [
        f"{name}: {len(data.users):,} users × {len(data.items):,} items, "
        f"train {split.train.nnz:,}, valid {split.valid.nnz:,}, test {split.test.nnz:,} "
        f"({split.how}); {', '.join(data.modalities) or 'no modalities'}; "
        f"data {data.fingerprint[:12]}.",
        "",
        f"`{command(folder)}`",
    ]
