"""Pages of results: numbers in benchmarks/results/NAME.json, a page in docs/results/NAME.md.

    python -m benchmarks.quality.pages

A page and its figure are made of the numbers alone. The command renders all of them anew, after a
change of wording or layout, and the figures of several pages.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.environment import argument_parser
from benchmarks.quality import forest, replay_report, report
from benchmarks.quality.cold_start import report as cold_start_report

NUMBERS = Path("benchmarks/results")
PAGES = Path("docs/results")
FORESTS = {"alignment": ("tiktok-alignment", "baby-alignment")}
"""Figures of several tables, in docs/results/README.md: name, and the names of the numbers."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options that say where numbers and page go."""
    add = parser.add_argument
    add("--name", required=True, help="name of the result, e.g. tiktok-baselines")
    add("--numbers", type=Path, default=NUMBERS, help=f"folder for NAME.json [{NUMBERS}]")
    add("--pages", type=Path, default=PAGES, help=f"folder for NAME.md and NAME.svg [{PAGES}]")


def write(found: dict[str, Any], options: argparse.Namespace) -> None:
    """Write numbers, page and figure, and print the page.

    Args:
        found: the numbers, with a `kind` that says how to render them.
        options: see `add_options`.
    """
    options.numbers.mkdir(parents=True, exist_ok=True)
    file = options.numbers / f"{options.name}.json"
    file.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    options.pages.mkdir(parents=True, exist_ok=True)
    print(render(file, options.pages))


def render(numbers: Path, pages: Path) -> str:
    """Write the page and the figure of a file of numbers, and return the page."""
    found = json.loads(numbers.read_text())
    figure = pages / f"{numbers.stem}.svg"
    match found["kind"]:
        case "table":
            page = report.markdown(found, figure.name)
            if report.has_figure(found):
                report.draw(found, figure)
        case "items" | "users":
            page = cold_start_report.markdown(found, figure.name)
            if found["kind"] == "items":
                cold_start_report.draw(found, figure)
        case "replay":
            page = replay_report.markdown(found, figure.name)
            replay_report.draw(found, figure)
        case kind:
            raise SystemExit(f"{numbers}: unknown kind {kind!r}")
    figure.with_suffix(".md").write_text(page)
    return page


def main() -> None:
    """Render all pages."""
    parser = argument_parser(__doc__)
    parser.add_argument("--numbers", type=Path, default=NUMBERS, help=f"[{NUMBERS}]")
    parser.add_argument("--pages", type=Path, default=PAGES, help=f"[{PAGES}]")
    options = parser.parse_args()
    for numbers in sorted(options.numbers.glob("*.json")):
        render(numbers, options.pages)
        print(options.pages / f"{numbers.stem}.md")
    for name, of in FORESTS.items():
        tables = [json.loads((options.numbers / f"{table}.json").read_text()) for table in of]
        forest.draw(tables, options.pages / f"{name}.svg")
        print(options.pages / f"{name}.svg")


if __name__ == "__main__":
    main()
