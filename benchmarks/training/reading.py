"""Time and memory of reading interactions and splitting them, by their number.

    python -m benchmarks.training.reading [--interactions N …] [--ids text|integers|both]

Each size is written as `interactions.parquet` and read on one thread by a process of its own:
`read_dataset`, then `make_split` by time. There is a user for every 20 interactions and an item for
every 100, drawn with a long tail, so that some pairs repeat; ids are texts of 10 to 20 characters
or 64-bit integers in no order, and each row has a time and a weight, one in twenty of them a
dislike (target: 20 million rows in less than 90 s and 3 GiB). CPU seconds on one thread are the
wall time on an idle machine. The exponent says how the time grows between the first and the last
size: 1 is in proportion.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.environment import argument_parser, describe, peak_memory
from training.data.load import read_dataset
from training.data.split import SplitConfig, make_split

ROW_GROUP = 1_000_000
"""Rows that are drawn and written at a time."""


def drawn(n: int, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Numbers [n] below `size`; the smaller ones are drawn more often."""
    return (size * rng.random(n) ** 2).astype(np.int64)


def external(numbers: NDArray[np.int64], prefix: str, texts: bool) -> pa.Array:
    """Ids of numbered users or items: 64-bit integers, or texts of 10 to 20 characters."""
    if not texts:
        mixed = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        return pa.array((mixed >> np.uint64(1)).astype(np.int64))
    width = (10 + numbers % 11 - len(prefix)).tolist()
    return pa.array(
        [f"{prefix}{n:0{w}}" for n, w in zip(numbers.tolist(), width, strict=True)], pa.string()
    )


def write(folder: Path, rows: int, texts: bool) -> None:
    """Write interactions as Parquet."""
    rng = np.random.default_rng(0)
    users = external(rng.permutation(max(rows // 20, 1)), "user-", texts)
    items = external(rng.permutation(max(rows // 100, 1)), "i", texts)
    writer = None
    for start in range(0, rows, ROW_GROUP):
        n = min(ROW_GROUP, rows - start)
        table = pa.table(
            {
                "user_id": users.take(pa.array(drawn(n, len(users), rng))),
                "item_id": items.take(pa.array(drawn(n, len(items), rng))),
                "timestamp": rng.integers(1_600_000_000, 1_700_000_000, size=n),
                "weight": rng.choice(np.array([-1, *[1] * 19], np.float64), size=n),
            }
        )
        writer = writer or pq.ParquetWriter(folder / "interactions.parquet", table.schema)
        writer.write_table(table)
    if writer:
        writer.close()


def read(folder: Path) -> None:
    """Measure reading and splitting in this process and print the numbers for its parent."""
    before, clock = peak_memory(), time.perf_counter()
    cpu = [time.process_time()]
    dataset = read_dataset(folder)
    cpu.append(time.process_time())
    split = make_split(dataset, SplitConfig(by="user_time"), np.random.default_rng(0))
    cpu.append(time.process_time())
    measured = {
        "read": cpu[1] - cpu[0],
        "split": cpu[2] - cpu[1],
        "wall": time.perf_counter() - clock,
        "peak": peak_memory(),
        "before": before,
        "likes": split.train.nnz + split.valid.nnz + split.test.nnz,
        "users": len(dataset.users),
        "items": len(dataset.items),
    }
    print(json.dumps(measured))


def measured(rows: int, texts: bool, parent: Path | None) -> dict[str, Any]:
    """Measurements of one size, by a process of its own."""
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        write(Path(folder), rows, texts)
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.training.reading", "--read", folder],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    if done.returncode:  # the reason is on stderr
        raise SystemExit(done.returncode)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Run the benchmark."""
    parser = argument_parser(__doc__)
    add = parser.add_argument
    sizes = [1_000_000, 4_000_000, 20_000_000]
    add("--interactions", type=int, nargs="+", default=sizes, help="[1000000 4000000 20000000]")
    add("--ids", choices=["text", "integers", "both"], default="both", help="kind of ids [both]")
    add("--dir", type=Path, help="folder for the files, up to 1 GB [the system's temporary one]")
    add("--read", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    pa.set_cpu_count(1)
    if options.read:
        read(options.read)
        return
    columns = "ids", "interactions", "users", "items", "read, CPU s", "split, CPU s", "wall, s"
    print(f"| {' | '.join([*columns, 'peak, MiB'])} |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for kind in ["text", "integers"] if options.ids == "both" else [options.ids]:
        found = [measured(rows, kind == "text", options.dir) for rows in options.interactions]
        for rows, one in zip(options.interactions, found, strict=True):
            sizes_read = f"{rows:,} | {one['users']:,} | {one['items']:,}"
            seconds = f"{one['read']:.1f} | {one['split']:.1f} | {one['wall']:.1f}"
            print(f"| {kind} | {sizes_read} | {seconds} | {one['peak']:,.0f} |", flush=True)
        if len(found) > 1:
            first, last = (one["read"] + one["split"] for one in (found[0], found[-1]))
            times = options.interactions[-1] / options.interactions[0]
            print(f"exponent, {kind} ids: {math.log(last / first) / math.log(times):.2f}")
    print("\n" + describe(("pyarrow", "numpy")))


if __name__ == "__main__":
    main()
