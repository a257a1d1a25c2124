"""Index of the stored runs: what each is and which pages show it.

    python -m benchmarks.quality.index

writes benchmarks/runs/index.csv. A page shows a run if its numbers list the run or its text names
the run's file. Runs without a page can be deleted.
"""

import csv
import io
import json
import re
from collections import defaultdict
from pathlib import Path

from benchmarks.environment import argument_parser
from benchmarks.quality.bench import RUNS
from benchmarks.quality.pages import NUMBERS, PAGES
from benchmarks.quality.runner import SUFFIX, read

INDEX = "index.csv"
COLUMNS = ("dataset", "run", "model", "seed", "data", "commit", "code", "layout", "pages")
"""`data`: start of the data's fingerprint. `code`, `layout`: see `benchmarks.environment`."""
RUN_NAME = re.compile(r"[\w-]+-seed\d+-[0-9a-f]{16}")


def citations(numbers: Path, pages: Path) -> dict[str, set[str]]:
    """Names of the pages that show a run, by the run's name."""
    found: dict[str, set[str]] = defaultdict(set)
    for file in numbers.glob("*.json"):
        for row in json.loads(file.read_text()).get("rows", []):
            for run in row["runs"]:
                found[run].add(file.stem)
    for page in pages.glob("*.md"):
        for run in RUN_NAME.findall(page.read_text()):
            found[run].add(page.stem)
    return found


def index(runs: Path, numbers: Path, pages: Path) -> str:
    """The index as CSV, sorted by data set and run.

    Args:
        runs: folder with a folder of runs for each data set.
        numbers, pages: folders of the results, see `benchmarks.quality.pages`.

    Raises:
        FileNotFoundError: a page shows a run that is not stored.
    """
    cited = citations(numbers, pages)
    lines = []
    for file in sorted(runs.glob(f"*/*{SUFFIX}")):
        run, name = read(file), file.name.removesuffix(SUFFIX)
        made_by = run["versions"]
        lines.append(
            {
                "dataset": file.parent.name,
                "run": name,
                "model": run["model"],
                "seed": run["seed"],
                "data": run["data"][:12],
                "commit": made_by["commit"],
                "code": made_by["code"],
                "layout": made_by.get("layout", 1),
                "pages": " ".join(sorted(cited.get(name, ()))),
            }
        )
    if missing := set(cited) - {line["run"] for line in lines}:
        raise FileNotFoundError(f"{runs} lacks runs that pages show: {', '.join(sorted(missing))}")
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def main() -> None:
    """Write the index."""
    parser = argument_parser(__doc__)
    parser.add_argument("--runs", type=Path, default=RUNS, help=f"folder of the runs [{RUNS}]")
    options = parser.parse_args()
    file = options.runs / INDEX
    file.write_text(index(options.runs, NUMBERS, PAGES))
    print(file)


if __name__ == "__main__":
    main()
