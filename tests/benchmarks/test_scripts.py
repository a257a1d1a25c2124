"""Every script of benchmarks/ explains itself, and the documents name what exists."""

import importlib
import re
import sys

import pytest

from benchmarks.environment import ROOT
from benchmarks.quality.pages import NUMBERS, PAGES

IN_A_TOOLBOX = {"cornac_training", "recbole_training", "cornac_serving"}
"""Scripts that run where a toolbox is installed."""
SCRIPTS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "benchmarks").rglob("*.py")
    if 'if __name__ == "__main__"' in path.read_text() and path.stem not in IN_A_TOOLBOX
)
OVERVIEW = ROOT / "benchmarks/README.md"


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) > 10


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_names_the_command_and_every_option_has_a_text(
    script: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(script)
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert f"python -m {script.removesuffix('.__main__')}" in said
    options = said[said.index("\noptions:") :]
    texts = re.findall(r"^  (?:-\w(?: \S+)?, )?--[\w-]+(.*)(?=\n(.*)$)", options, re.M)
    for rest, following in texts:
        explained = re.search(r" {2,}\S", rest) or re.match(r" {20,}\S", following)
        assert explained, f"{script} --help: {rest}"


def test_the_overview_names_every_script_and_every_page() -> None:
    text = OVERVIEW.read_text()
    for script in SCRIPTS:
        *_, folder, name = script.removesuffix(".__main__").split(".")
        assert re.search(rf"\b(?:{folder}\.)?{name}\b", text), script
    for numbers in (ROOT / NUMBERS).glob("*.json"):
        assert f"(../{PAGES}/{numbers.stem}.md)" in text


def test_modules_that_documents_run_exist() -> None:
    documents = [path for folder in (".", "docs/**") for path in ROOT.glob(f"{folder}/*.md")]
    named = {
        (path.name, module)
        for path in [*documents, OVERVIEW]
        for module in re.findall(r"python -m (benchmarks(?:\.\w+)*)\b", path.read_text())
    }
    assert len(named) > 10
    for document, module in named:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or path.is_dir(), f"{document} runs {module}"
