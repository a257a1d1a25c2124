"""How long a fit takes, how that grows with the data, and beside a plain LightGCN.

    python benchmarks/fit_epoch.py [--data DIR] [--sizes 1 4 16] [--threads N] [--recbole PYTHON]

First, fits on synthetic data of 1, 4 and 16 times TikTok's size (benchmarks/synthetic.py), each in
a process of its own: seconds of an epoch, with its evaluation on valid; time to the best valid
recall@20; peak memory. A fit ends by itself or after the first epoch beyond --budget seconds; then
its best epoch is that "so far".

Then, on TikTok itself: the time until the best-on-valid model of our fit has a test recall@20 of
0.0922, which is what a toolbox's LightGCN ends with, against the time that a plain LightGCN
(benchmarks/plain_lightgcn.py) takes to its own best. The two take turns, epoch by epoch, so that
what else the machine does meets both. Building graphs and evaluating valid count, test does not.

With --recbole, the python of an environment as benchmarks/toolbox.py describes it, RecBole's own
LightGCN too: our fit, RecBole's, our fit again.
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
from machine import describe, real_data
from quality_pages import open_bench
from timed_fits import TARGET, compare, one_size
from toolbox import train, write_train

from training.config import load_config


def print_sizes(rows: list[dict[str, Any]]) -> None:
    """A line for each size, and how it compares with the first."""
    for row in rows:
        first = rows[0]
        growth = "".join(
            f", {what} {row[key] / first[key]:.1f} ×"
            for what, key in (("epoch", "epoch_seconds"), ("memory", "peak_mib"))
        )
        print(
            f"{row['size']:g} × ({row['users']:,} users × {row['items']:,} items, "
            f"{row['train']:,} pairs): epoch {row['epoch_seconds']:.1f} s, "
            f"set-up {row['setup_seconds']:.1f} s, best valid "
            f"{'' if row['finished'] else 'so far '}after {row['best_seconds']:.0f} s "
            f"(epoch {row['best_epoch']} of {row['epochs']}), peak {row['peak_mib']:.0f} MiB"
            + (growth if row is not first else "")
        )


def print_comparison(found: dict[str, Any]) -> None:
    """Both sides and the ratio."""
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
    """This script again, for one of its parts; its progress goes to stderr."""
    command = [sys.executable, *sys.argv, *hidden]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:  # it has said why
        raise SystemExit(done.returncode)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def beside_recbole(folder: Path, python: Path, seed: int) -> dict[str, Any]:
    """Our fit, RecBole's LightGCN until it stops by itself, and our fit again."""
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
    """Both sides and the ratio."""
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of TikTok [$DREPMREC_DATA/tiktok]")
    parser.add_argument(
        "--sizes", type=float, nargs="*", default=[1, 4, 16], help="times TikTok's [1 4 16]"
    )
    parser.add_argument("--budget", type=float, default=600, help="seconds for each size [600]")
    parser.add_argument("--threads", type=int, default=0, help="of torch [as many as it finds]")
    parser.add_argument("--seed", type=int, default=0, help="of data and fits [0]")
    parser.add_argument(
        "--set",
        dest="assignments",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a hyper-parameter of our fits, e.g. optim.batch_size=32768",
    )
    parser.add_argument("--skip-yardstick", action="store_true", help="only our side")
    parser.add_argument("--recbole", type=Path, help="python of an environment that has RecBole")
    parser.add_argument("--skip-tiktok", action="store_true", help="only the synthetic sizes")
    parser.add_argument("--json", type=Path, help="write all numbers into this file")
    parser.add_argument("--one", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--compare", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    config = load_config(None, options.assignments)
    if options.one is not None:
        print(json.dumps(one_size(options.one, config, options.seed, options.budget)))
        return
    if options.compare is not None:
        yardstick = not options.skip_yardstick
        print(json.dumps(compare(options.compare, config, options.seed, yardstick)))
        return
    rows = [in_own_process("--one", str(size)) for size in options.sizes]
    print_sizes(rows)
    found = recbole = None
    folder = None if options.skip_tiktok else options.data or real_data("tiktok")
    if folder is not None:
        found = in_own_process("--compare", str(folder))
        print_comparison(found)
        if options.recbole:
            recbole = beside_recbole(folder, options.recbole, options.seed)
            print_recbole(recbole)
    machine = [f"{torch.get_num_threads()} threads", *describe(("torch", "numpy"))]
    print("\n".join(machine))
    if options.json:
        result = {"sizes": rows, "tiktok": found, "recbole": recbole, "machine": machine}
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
