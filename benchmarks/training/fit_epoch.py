"""Time of a fit: growth with the data, and comparison with a plain LightGCN.

    python -m benchmarks.training.fit_epoch [--shape tiktok] [--sizes 1 4 16] [--data DIR]

First, fits on synthetic data of 1, 4 and 16 times the size of TikTok or of MovieLens-1M
(`benchmarks/synthetic.py`), each in a process of its own: wall and CPU seconds of an epoch with its
evaluation on valid, time to the best valid recall@20, peak memory, and, over all sizes, the fitted
exponents of their growth with the number of train pairs. A fit ends by itself or with the first
step beyond --budget seconds; its best epoch is then reported as "so far". If not even the first
epoch fits in, its time is projected from the steps that were made and an evaluation.

Then, on TikTok: the time until the best-on-valid model of our fit has a test recall@20 of 0.0922,
the final value of a toolbox's LightGCN, against the time that a plain LightGCN
(`benchmarks/training/plain_lightgcn.py`) takes to its own best. The two alternate epoch by epoch,
so that other work on the machine affects both. Building graphs and evaluating valid count;
evaluating test does not.

With --recbole, the Python of an environment as `benchmarks/quality/toolboxes` describes it, also
RecBole's LightGCN: our fit, RecBole's, our fit again.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import argument_parser, describe, real_data
from benchmarks.quality.bench import open_bench
from benchmarks.quality.toolboxes.exchange import train, write_train
from benchmarks.synthetic import SHAPES
from benchmarks.training.sizes import one_size, print_growth, print_size
from benchmarks.training.timed_fits import TARGET, compare
from training.fitting.config import RunOptions, load_config


def print_comparison(found: dict[str, Any]) -> None:
    """Print both sides and the ratio."""
    ours, yardstick = found["ours"], found["yardstick"]
    print(
        f"TikTok, ours: best on valid in epoch {ours['best_epoch']} of {ours['epochs']} after "
        f"{ours['best_seconds']:.0f} s, stopped after {ours['seconds']:.0f} s; valid recall@20 "
        f"{ours['best_valid']:.4f}, test {ours['best_test']:.4f}"
    )
    if ours["target_seconds"] is None:
        print(f"  its best-on-valid model never had a test recall@20 of {TARGET}")
    else:
        print(
            f"  test recall@20 ≥ {TARGET} in epoch {ours['target_epoch']} after "
            f"{ours['target_seconds']:.1f} s ({ours['target_cpu']:.1f} s of CPU)"
        )
    if yardstick is None:
        return
    print(
        f"TikTok, plain LightGCN: best on valid in epoch {yardstick['best_epoch']} of "
        f"{yardstick['epochs']} after {yardstick['best_seconds']:.0f} s "
        f"({yardstick['best_cpu']:.0f} s of CPU), stopped after {yardstick['seconds']:.0f} s; "
        f"valid recall@20 {yardstick['best_valid']:.4f}, test {yardstick['best_test']:.4f}"
    )
    if ours["target_seconds"] is not None:
        print(
            f"ratio {yardstick['best_seconds'] / ours['target_seconds']:.1f}, by CPU time "
            f"{yardstick['best_cpu'] / ours['target_cpu']:.1f}"
        )


def in_own_process(*hidden: str) -> dict[str, Any]:
    """Measurements of one part of this script, run in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.training.fit_epoch", *sys.argv[1:], *hidden]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:  # the reason is on stderr
        raise SystemExit(done.returncode)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def beside_recbole(folder: Path, python: Path, seed: int) -> dict[str, Any]:
    """Measurements of our fit, RecBole's LightGCN until it stops, and our fit again."""
    os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    ours = [in_own_process("--compare", str(folder), "--skip-yardstick")["ours"]]
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "train.npz"
        write_train(open_bench(folder, Path(directory)), source)
        job = {"model": "LightGCN", "options": {}, "seed": seed, "vectors": True}
        out = train("recbole", python, source, job)
    ours.append(in_own_process("--compare", str(folder), "--skip-yardstick")["ours"])
    kept = ("version", "epochs", "seconds", "best_epoch", "best_seconds", "best_valid")
    return {"ours": ours, "recbole": {name: out[name].item() for name in kept}}


def print_recbole(found: dict[str, Any]) -> None:
    """Print both sides and the ratio."""
    theirs, ours = found["recbole"], [run["target_seconds"] for run in found["ours"]]
    print(
        f"TikTok, LightGCN of RecBole {theirs['version']}: best on valid in epoch "
        f"{theirs['best_epoch']} of {theirs['epochs']} after {theirs['best_seconds']:.0f} s, "
        f"stopped after {theirs['seconds']:.0f} s; valid recall@20 {theirs['best_valid']:.4f}"
    )
    if None not in ours:
        print(
            f"  ours, test recall@20 ≥ {TARGET}: {ours[0]:.1f} s before, {ours[1]:.1f} s after; "
            f"ratio {theirs['best_seconds'] / statistics.mean(ours):.1f}"
        )


def main() -> None:
    """Run the benchmark."""
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("--data", type=Path, help="folder of TikTok [$DREPMREC_DATA/tiktok]")
    add("--shape", choices=SHAPES, default="tiktok", help="of the synthetic data [tiktok]")
    add("--sizes", type=float, nargs="*", default=[1, 4, 16], help="multiples of it [1 4 16]")
    add("--device", choices=["cpu", "cuda"], default="cpu", help="of these fits [cpu]")
    add("--budget", type=float, default=600, help="seconds for each size [600]")
    add("--threads", type=int, default=0, help="CPU threads; 0 for torch's default [0]")
    add("--seed", type=int, default=0, help="seed of data and fits [0]")
    add(
        "--set",
        dest="assignments",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="hyper-parameter of our fits, e.g. optim.batch_size=32768; repeatable",
    )
    add("--skip-yardstick", action="store_true", help="leave out the plain LightGCN")
    add("--recbole", type=Path, help="Python of an environment with RecBole [none]")
    add("--skip-tiktok", action="store_true", help="measure the synthetic sizes alone")
    add("--json", type=Path, help="file for all numbers [none]")
    add("--one", type=float, help=argparse.SUPPRESS)
    add("--compare", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    config = load_config(None, options.assignments)
    if options.one is not None:
        run = RunOptions(seed=options.seed, device=options.device)
        print(json.dumps(one_size(options.shape, options.one, config, run, options.budget)))
        return
    if options.compare is not None:
        yardstick = not options.skip_yardstick
        print(json.dumps(compare(options.compare, config, options.seed, yardstick)))
        return
    rows = []
    for size in options.sizes:
        rows.append(in_own_process("--one", str(size)))
        print_size(rows[-1])
    print_growth(rows)
    found = recbole = None
    folder = None if options.skip_tiktok else options.data or real_data("tiktok")
    if folder is not None:
        found = in_own_process("--compare", str(folder))
        print_comparison(found)
        if options.recbole:
            recbole = beside_recbole(folder, options.recbole, options.seed)
            print_recbole(recbole)
    machine = [f"{torch.get_num_threads()} threads", describe(("torch", "numpy"))]
    print("\n".join(machine))
    if options.json:
        result = {"sizes": rows, "tiktok": found, "recbole": recbole, "machine": machine}
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
