"""Documents: links, names of files, commands and hyper-parameters, and the width of their lines."""

import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from training.fitting.config import load_config

FOLDERS = (".", ".github/**", "benchmarks/**", "docs/**", "helm/*")
WIDTH = 100
PACKAGES = "bundle|models|training|service|benchmarks|tests|api_tests|scripts|docs|helm"
FILE = re.compile(rf"`((?:{PACKAGES})/[\w./-]+\.\w+)")
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)(?:#([^)\s]+))?\)")
UNBREAKABLE = re.compile(r"`[^`]*`|\[[^\]]*\]\([^)]*\)|<[^>]*>|https?://\S+")
"""Code, links and addresses: nothing breaks a line inside them."""


def documents() -> list[Path]:
    return sorted({path for folder in FOLDERS for path in ROOT.glob(f"{folder}/*.md")})


def prose(path: Path) -> list[tuple[int, str]]:
    """Number and text of the lines of a page that are neither code nor a table."""
    lines, fence = [], False
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.lstrip().startswith("```"):
            fence = not fence
        elif not fence and not line.lstrip().startswith("|"):
            lines.append((number, line))
    return lines


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = [line.lstrip("#") for _, line in prose(path) if re.match(r"#+ ", line)]
    return {re.sub(r"[^\w\- ]", "", text).strip().lower().replace(" ", "-") for text in headings}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def generated(path: Path) -> bool:
    """The pages of results are written by the benchmarks."""
    return path.parent.name == "results" and path.name != "README.md"


each_document = pytest.mark.parametrize("path", documents(), ids=name)
"""One test for each, so that a failure does not hide the next."""


def test_there_are_documents() -> None:
    names = {name(path) for path in documents()}
    assert {"README.md", "docs/README.md", "docs/guide/serving.md"} <= names


@each_document
def test_links_lead_somewhere(path: Path) -> None:
    for number, line in enumerate(path.read_text().splitlines(), 1):
        for target, anchor in LINK.findall(line):
            found = path.parent / target
            assert found.exists(), f"{path.name}:{number} links to {target}"
            if anchor and found.suffix == ".md":
                assert anchor in anchors(found), f"{path.name}:{number}: no {target}#{anchor}"
        for anchor in re.findall(r"\]\(#([^)\s]+)\)", line):
            assert anchor in anchors(path), f"{path.name}:{number}: no #{anchor}"


@each_document
def test_files_and_make_targets_exist(path: Path) -> None:
    text = path.read_text()
    for file in FILE.findall(text):
        assert Path(file).stem == "NAME" or (ROOT / file).exists(), f"{path.name} names {file}"
    for target in re.findall(r"`make ([\w-]+)`", text):
        makefile = (ROOT / "Makefile").read_text()
        assert re.search(rf"^{target}:", makefile, re.M), f"{path.name} names make {target}"


@each_document
def test_hyper_parameters_exist(path: Path) -> None:
    config = load_config(None, []).model_dump()
    for section, key in re.findall(
        r"(?<!/)\b(model|optim|split)\.([a-z_0-9]+)\b", path.read_text()
    ):
        if key != "onnx":
            assert key in config[section], f"{path.name} names {section}.{key}"


@pytest.mark.parametrize("path", [path for path in documents() if not generated(path)], ids=name)
def test_lines_are_not_wider_than_the_code(path: Path) -> None:
    """Tables and code aside; and a line that is wide because nothing in it can be broken."""
    for number, line in prose(path):
        if len(line) <= WIDTH:
            continue
        words = UNBREAKABLE.sub(lambda match: match[0].replace(" ", "_"), line.strip()).split(" ")
        assert len(words) <= 2, f"{path.name}:{number} has {len(line)} characters"
