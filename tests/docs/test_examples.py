"""Examples in documents: CONTRIBUTING's lists of files, and the Python of the training page."""

import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import MagicMock, create_autospec

import pytest

from tests.support.data.event_logs import store_with_bundle
from tests.support.paths import DOCS, ROOT
from training.cli.fit import fit

EXAMPLES = re.split(
    r"^### ",
    (ROOT / "CONTRIBUTING.md").read_text().split("## Worked examples\n")[1].split("\n## ")[0],
    flags=re.MULTILINE,
)[1:]


def test_there_are_five_worked_examples() -> None:
    titles = [example.splitlines()[0] for example in EXAMPLES]
    assert titles == [
        "A new endpoint",
        "A new state back end",
        "A new ranking loss",
        "A new file format of interactions",
        "A new search option",
    ]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.splitlines()[0])
def test_a_worked_example_touches_five_files_at_most(example: str) -> None:
    steps = re.findall(r"^\d\. `([^`]+)`", example, re.MULTILINE)
    assert 1 < len(steps) <= 5
    for file in steps:
        place = ROOT / file
        assert (place.parent if "<" in file else place).exists(), file


def test_the_python_of_the_training_page_runs(tmp_path: Path) -> None:
    page = (DOCS / "guide" / "training.md").read_text()
    [_, code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    user = store_with_bundle(tmp_path / "store").load().users[0]
    done = subprocess.run(
        [sys.executable, "-c", code.replace("user-0001", user)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "item-" in done.stdout


def test_the_ray_example_of_the_training_page_calls_fit_with_options_that_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray is not installed; in its place, the function runs once, here."""
    page = (DOCS / "guide" / "training.md").read_text()
    [code, _] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    ray = MagicMock()
    for name in ("ray", "ray.train", "ray.train.torch"):
        monkeypatch.setitem(sys.modules, name, ray)
    called = create_autospec(fit)
    monkeypatch.setattr("training.cli.fit.fit", called)
    exec(code, {})  # noqa: S102  # the page is ours
    [function] = ray.TorchTrainer.call_args.args
    function(ray.TorchTrainer.call_args.kwargs["train_loop_config"])
    called.assert_called_once_with(Path("/data/shop"), "/data/store", resume=True, threads=1)
