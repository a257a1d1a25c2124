"""Time and memory of a refresh, by the number of users.

    python -m benchmarks.training.refresh_scale --users 250000 500000 1000000 --items 100000

The bundle has clustered random vectors and 20 interactions per user. A Parquet file holds one event
of every user, so all users are encoded anew; the candidate is compared and published. Anonymous
memory is what the process asked for. The rest of its resident memory are pages of mapped files,
which the kernel takes back when it needs them.
"""

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

from benchmarks.environment import argument_parser, hardware
from benchmarks.synthetic_bundles import bundle_with_histories
from bundle.store.store import BundleStore


def measured(command: list[str]) -> tuple[float, float, float, str]:
    """Seconds, peak resident memory and peak anonymous memory in MB, and output of a command."""
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
    parser = argument_parser(__doc__)
    add = parser.add_argument
    sizes = [250_000, 500_000, 1_000_000]
    add("--users", type=int, nargs="+", default=sizes, help="[250000 500000 1000000]")
    add("--items", type=int, default=100_000, help="items of the bundle [100000]")
    add("--dim", type=int, default=128, help="columns of the vectors [128]")
    add("--processes", type=int, default=2, help="processes that encode users [2]")
    add("--dir", type=Path, help="folder for the stores, some GB [the system's temporary one]")
    options = parser.parse_args()
    print(f"{hardware()}; {options.items:,} items × {options.dim}, {options.processes} processes\n")
    columns = "users", "encoded, s", "in all, s", "users/s encoded", "users/s in all"
    print(f"| {' | '.join([*columns, 'anonymous MB', 'resident MB'])} |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for n_users in options.users:
        folder = Path(tempfile.mkdtemp(dir=options.dir))
        try:
            contents = bundle_with_histories(n_users, options.items, options.dim, folder)
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
            command += ["--processes", str(options.processes), "--force", "random vectors"]
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
