"""The rooms and what may lead from one to another; documents that must not rot."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "bundle": set(),
    "models": set(),
    "training": {"bundle", "models"},
    "service": {"bundle"},
}
HEAVY = ("torch", "training", "models", "onnx", "scipy", "tensorboard")


def imported(path: Path) -> set[str]:
    """First parts of all modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("room", ALLOWED)
def test_imports_go_one_way(room):
    files = list((ROOT / room).rglob("*.py"))
    assert files
    for path in files:
        others = imported(path) & (set(ALLOWED) - {room})
        assert others <= ALLOWED[room], f"{path.relative_to(ROOT)} imports {others}"


def test_models_know_torch_and_nothing_of_files_frames_or_the_web():
    known = {"torch", "pydantic", "models", "collections", "itertools", "typing", "abc"}
    for path in (ROOT / "models").rglob("*.py"):
        assert imported(path) <= known, path


def loaded(by: str, modules: tuple[str, ...]) -> str:
    """Which of some modules a module loads."""
    code = f"import sys, {by}; print(*sorted(m for m in {modules!r} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize("module", ["bundle.store", "service.app", "service.__main__"])
def test_serving_never_loads_what_only_training_needs(module):
    assert loaded(module, HEAVY) == ""


def test_commands_that_need_no_torch_do_not_wait_for_it():
    assert loaded("training.commands", ("torch", "optuna", "tensorboard")) == ""


def documents() -> list[Path]:
    return [path for folder in (".", "docs", "helm/*") for path in ROOT.glob(f"{folder}/*.md")]


def test_links_between_documents_lead_somewhere():
    for path in documents():
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_files_and_commands_that_documents_name_exist():
    for path in documents():
        text = path.read_text()
        named = re.findall(r"`((?:bundle|models|training|service|benchmarks)/[\w/]+\.py)", text)
        for file in named:
            assert (ROOT / file).is_file(), f"{path.name} names {file}"
        for target in re.findall(r"`make (\w+)`", text):
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M), target


def test_hyper_parameters_that_documents_name_exist():
    from training.config import load_config

    config = load_config(None, []).model_dump()
    for path in documents():
        named = re.findall(r"(?<!/)\b(model|optim|split)\.([a-z_0-9]+)\b", path.read_text())
        for section, key in named:
            if key != "onnx":
                assert key in config[section], f"{path.name} names {section}.{key}"
