"""Run the fault suite and write docs/design/faults.md.

    python scripts/faults.py

What is thrown at the product, by area: each test's name is a promise, its cases are the faults.
"""

import re
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from textwrap import fill

import pytest

from benchmarks.environment import SERVING, describe

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "design" / "faults.md"
WIDTH = 100
"""Characters of a line of text."""
ROWS = re.compile(r"(?<=<!-- faults -->\n).*(?=<!-- end of faults -->)", re.DOTALL)
AREAS: dict[str, tuple[str, list[str]]] = {
    "Data": (
        "Damaged and contradictory files of interactions, items, features and events.",
        [
            "tests/training/data/test_bad_arrays.py",
            "tests/training/data/test_bad_content.py",
            "tests/training/data/test_bad_folder.py",
            "tests/training/data/test_bad_log.py",
            "tests/training/data/test_dislikes.py",
            "tests/training/data/test_moments.py",
            "tests/training/data/test_reader_fuzz.py",
            "tests/training/evaluation/test_known_pairs.py",
            "tests/training/refresh/test_file_source.py",
            "tests/training/refresh/test_item_files.py",
        ],
    ),
    "Columns of items": (
        "Every type that a column can have, in filters, boosts and changes of items.",
        [
            "tests/bundle/catalogue/test_column_types.py",
            "tests/training/data/test_column_types.py",
            "api_tests/resources/test_column_types.py",
        ],
    ),
    "Pictures": (
        "Pictures that are damaged, forged or larger than the budget of memory and time.",
        ["tests/bundle/content/test_decoder.py"],
    ),
    "HTTP": (
        "Requests that are malformed, random, slow, broken off or never read; API keys.",
        [
            "api_tests/http/test_errors.py",
            "api_tests/http/test_http.py",
            "api_tests/http/test_parameters.py",
            "tests/service/http/test_unread.py",
            "api_tests/http/test_timeouts.py",
            "api_tests/http/test_slow_clients.py",
            "api_tests/http/test_cancellation.py",
            "api_tests/http/test_random_requests.py",
            "api_tests/http/test_authentication.py",
            "api_tests/http/test_key_file.py",
            "api_tests/http/test_cors.py",
        ],
    ),
    "Load": (
        "More requests and connections than the limits; requests that cost much.",
        ["api_tests/http/test_overload.py", "tests/service/engine/test_cost.py"],
    ),
    "Redis": (
        "A Redis that is killed, hangs, is slow, full, read-only, resets connections, answers half "
        "or another protocol; Sentinels and a cluster that fail over.",
        [
            "api_tests/state/test_redis.py",
            "api_tests/state/test_sentinel.py",
            "api_tests/state/test_state_faults.py",
            "tests/service/redis/test_batched_reader.py",
            "tests/service/redis/test_timeouts.py",
        ],
    ),
    "State": (
        "Files that are locked, damaged, full or gone; storms of clients that go away; two "
        "services on one state.",
        [
            "api_tests/state/test_state_files.py",
            "tests/service/state/test_sqlite.py",
            "tests/service/state/test_redis.py",
            "tests/service/state/test_storms.py",
            "tests/service/state/test_killed.py",
            "tests/service/state/test_item_changes.py",
            "tests/service/engine/test_item_overlay.py",
        ],
    ),
    "Store and bundles": (
        "Damaged bundles, processes killed at every step, full disks, stores that go away, two "
        "publishers, object stores that fail.",
        [
            "api_tests/bundles/test_reload.py",
            "api_tests/bundles/test_rollback.py",
            "api_tests/bundles/test_object_store.py",
            "tests/bundle/format/test_damage.py",
            "tests/bundle/store/test_killed.py",
            "tests/bundle/store/test_no_space.py",
            "tests/bundle/store/test_lease.py",
            "tests/bundle/store/test_object_store.py",
            "tests/bundle/store/test_access.py",
        ],
    ),
    "Processes": (
        "Signals, workers that die, work in the background that raises, a refresh that is killed.",
        [
            "api_tests/process/test_shutdown.py",
            "api_tests/process/test_start.py",
            "tests/service/observability/test_background.py",
            "tests/training/refresh/test_killed.py",
            "tests/training/cli/test_mistakes.py",
            "tests/training/fitting/test_run_folder.py",
        ],
    ),
}
"""By area: what is thrown, and the files of the tests."""


@dataclass
class Promise:
    """A test function.

    Attributes:
        seconds: duration of its cases together.
        outcomes: cases by outcome.
        reasons: why cases were skipped.
    """

    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: set[str] = field(default_factory=set)


class Results:
    """Plugin of pytest that gathers the results by file and function."""

    def __init__(self) -> None:
        self.promises: dict[tuple[str, str], Promise] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a report."""
        file, _, name = report.nodeid.partition("::")
        promise = self.promises.setdefault((file, name.partition("[")[0]), Promise())
        promise.seconds += report.duration
        if report.when == "call" or report.outcome != "passed":
            promise.outcomes[report.outcome] += 1
        if report.skipped and isinstance(report.longrepr, tuple):
            promise.reasons.add(report.longrepr[2].removeprefix("Skipped: "))


def sentence(function: str) -> str:
    """The promise that a test's name is."""
    words = function.removeprefix("test_").replace("_", " ")
    return words[:1].upper() + words[1:]


def rows(promises: dict[tuple[str, str], Promise]) -> str:
    """The sections of the page, one for each area."""
    parts = []
    for area, (thrown, files) in AREAS.items():
        parts += [
            f"\n## {area}\n",
            f"{fill(thrown, WIDTH)}\n",
            "| promise | cases | result |",
            "|---|---|---|",
        ]
        for file in files:
            parts.append(f"| *`{file}`* | | |")
            for (of, function), promise in promises.items():
                if of == file:
                    parts.append(f"| {sentence(function)} | {_cases(promise)} |")
    return "\n".join(parts) + "\n\n"


def _cases(promise: Promise) -> str:
    said = ", ".join(f"{number} {outcome}" for outcome, number in promise.outcomes.items())
    reasons = f" ({'; '.join(sorted(promise.reasons))})" if promise.reasons else ""
    return f"{sum(promise.outcomes.values())} | {said}{reasons}"


def main() -> int:
    """Run the suite and write the page; the exit code of pytest."""
    results = Results()
    files = [str(ROOT / file) for _, files in AREAS.values() for file in files]
    started = time.monotonic()
    code = pytest.main(["--quiet", "-p", "no:cacheprovider", *files], plugins=[results])
    minutes = (time.monotonic() - started) / 60
    total: Counter[str] = Counter()
    for promise in results.promises.values():
        total += promise.outcomes
    counted = ", ".join(f"{number:,} {outcome}" for outcome, number in total.items())
    machine, packages, _ = describe(SERVING).splitlines()
    run = (
        f"\nRun of {datetime.now(UTC):%Y-%m-%d}: {len(results.promises)} promises, "
        f"{sum(total.values()):,} cases, {counted}, in {minutes:.0f} minutes.\n"
        f"\n```\n{machine}\n{packages}\nmake faults\n```\n"
    )
    page = PAGE.read_text()
    PAGE.write_text(ROWS.sub(lambda _: run + rows(results.promises), page))
    return int(code)


if __name__ == "__main__":
    raise SystemExit(main())
