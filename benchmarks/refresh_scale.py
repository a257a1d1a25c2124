"""A refresh of many users: how long it takes, and what of the memory grows with them.

    python benchmarks/refresh_scale.py --users 250000 500000 1000000 --items 100000

A bundle of random vectors, clustered as real ones are, with 20 interactions a user; then an event
of every user, dropped as a Parquet file, so that everybody is encoded anew, compared and published.
Anonymous memory is what the process asked for; the rest of its resident memory are pages of mapped
files, which the kernel takes back when it needs them.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import hardware

from bundle.contents import BundleContents
from bundle.csr import Csr
from bundle.ids import IdMap
from bundle.manifest import Part
from bundle.store import BundleStore

HISTORY = 20
CLUSTERS = 1_000
BLOCK = 65_536


def make_contents(n_users: int, n_items: int, dim: int, folder: Path) -> BundleContents:
    """Items around CLUSTERS centres; everybody likes HISTORY items of a few of them."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from bundle_builders import make_contents as small

    rng = np.random.default_rng(0)
    template = small(2, 2, dim, rng=rng, no_interactions=0, n_heavy=0)
    centres = rng.standard_normal((CLUSTERS, dim)).astype(np.float32)
    items = centres[rng.integers(CLUSTERS, size=n_items)]
    items += 0.5 * rng.standard_normal((n_items, dim)).astype(np.float32)
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    chosen = rng.integers(n_items, size=(n_users, HISTORY), dtype=np.int32)
    seen = Csr.from_pairs(
        np.repeat(np.arange(n_users, dtype=np.int32), HISTORY), chosen.ravel(), n_users, n_items
    )
    path = folder / "users.npy"
    users = np.lib.format.open_memmap(path, "w+", np.float32, (n_users, dim))
    for start in range(0, n_users, BLOCK):
        users[start : start + BLOCK] = items[chosen[start : start + BLOCK, :3]].mean(1)
    return BundleContents(
        users=IdMap([f"user-{u}" for u in range(n_users)], "user_id"),
        items=IdMap([f"item-{i}" for i in range(n_items)], "item_id"),
        user_vectors=users,
        item_vectors=items,
        parts=[Part(name="behaviour", start=0, stop=dim)],
        item_parts=items,
        modalities=template.modalities,
        seen=seen,
        item_table=pa.table({"item_id": [f"item-{i}" for i in range(n_items)]}),
        user_encoder=template.user_encoder,
        item_encoder=template.item_encoder,
        encoder_sample=template.encoder_sample,
        config=template.config,
        report=template.report,
        data_fingerprint=template.data_fingerprint,
    )


def measured(command: list[str]) -> tuple[float, float, float, str]:
    """Seconds, peak resident and peak anonymous memory in MB, and what the command said."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    peaks = {"VmRSS": 0, "RssAnon": 0}
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        for name in peaks:
            found = re.search(rf"{name}:\s+(\d+) kB", status)
            peaks[name] = max(peaks[name], int(found[1]) if found else 0)
        time.sleep(0.05)
    said = process.communicate()[0]
    if process.returncode:
        raise SystemExit(said)
    return time.perf_counter() - started, peaks["VmRSS"] / 1e3, peaks["RssAnon"] / 1e3, said


def main() -> None:
    """Measure each size and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--users", type=int, nargs="+", default=[250_000, 500_000, 1_000_000])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dir", type=Path, help="where stores are made; needs some GB")
    options = parser.parse_args()
    print(f"{hardware()}; {options.items:,} items × {options.dim}, {options.threads} threads\n")
    columns = "users", "encoded, s", "in all, s", "users/s encoded", "users/s in all"
    print(f"| {' | '.join([*columns, 'anonymous MB', 'resident MB'])} |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for n_users in options.users:
        folder = Path(tempfile.mkdtemp(dir=options.dir))
        try:
            contents = make_contents(n_users, options.items, options.dim, folder)
            BundleStore(folder / "store").publish(contents)
            rng = np.random.default_rng(1)
            ids = contents.users.ids
            del contents
            clicked = [f"item-{i}" for i in rng.integers(options.items, size=n_users).tolist()]
            pq.write_table(
                pa.table({"user_id": ids, "item_id": clicked}), folder / "events.parquet"
            )
            del ids, clicked
            command = [sys.executable, "-m", "training", "refresh"]
            command += [
                "--store",
                str(folder / "store"),
                "--events",
                str(folder / "events.parquet"),
            ]
            command += ["--threads", str(options.threads), "--force", "random vectors"]
            seconds, resident, anonymous, said = measured(command)
            found = re.search(r"users encoded, (\d+) s", said)
            encoded = max(int(found[1]) if found else 0, 1)
            row = (n_users, encoded, seconds, n_users / encoded, n_users / seconds)
            cells = [f"{value:,.0f}" for value in (*row, anonymous, resident)]
            print(f"| {' | '.join(cells)} |", flush=True)
            print(said, file=sys.stderr)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
