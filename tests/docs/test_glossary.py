"""docs/glossary.md: one sentence for each term, and every term is a word that the project uses."""

import re
from pathlib import Path

import pytest

from tests.docs.test_documents import documents, name, prose
from tests.support.paths import DOCS, ROOT

PAGE = DOCS / "glossary.md"
TERMS = re.findall(r"^\| \*\*(.+?)\*\* \| (.+?) \| (?:`(.+?)`)? ?\|$", PAGE.read_text(), re.M)
AVOIDED = re.findall(
    r"^\| ([a-z]+) \| ", PAGE.read_text().split("## Words that are not used")[1], re.M
)
CODE = re.compile(r"`[^`]*`")


def test_the_terms_that_need_an_explanation_are_explained() -> None:
    needed = "bundle part line modality overlay fold-in gate store lease manifest change profile"
    terms = [term for term, _, _ in TERMS]
    assert set(needed.split()) | {"provenance", "fallback", "exclude_seen"} <= set(terms)
    assert len(set(terms)) == len(terms)


@pytest.mark.parametrize(("term", "meaning", "file"), TERMS, ids=[term for term, _, _ in TERMS])
def test_each_term_has_one_sentence_and_is_used(term: str, meaning: str, file: str) -> None:
    assert not re.search(r"\.(\s|$)", meaning), "one sentence, without a full stop"
    sources = [path for path in documents() if path != PAGE]
    text = " ".join(path.read_text() for path in [*sources, *([ROOT / file] if file else [])])
    assert re.search(rf"\b{re.escape(term)}", " ".join(text.split()), re.IGNORECASE)


@pytest.mark.parametrize("path", [p for p in documents() if p != PAGE], ids=name)
def test_documents_avoid_the_words_that_have_a_better_one(path: Path) -> None:
    assert AVOIDED
    for number, line in prose(path):
        found = re.findall(rf"\b(?:{'|'.join(AVOIDED)})s?\b", CODE.sub("", line), re.IGNORECASE)
        assert not found, f"{path.name}:{number} says {found[0]!r}, see docs/glossary.md"
