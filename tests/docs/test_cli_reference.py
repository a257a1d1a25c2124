"""docs/reference/cli.md says what the commands say."""

from pathlib import Path

from drepmrec.reference import WIDTH, reference

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run `make cli`"


def test_its_lines_are_short() -> None:
    assert max(map(len, reference().splitlines())) <= WIDTH
