"""docs/reference/settings.md says what the service's settings are."""

import runpy

import pytest

from service.settings import Settings
from tests.support.paths import DOCS, ROOT

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "settings.py"))
PAGE = (DOCS / "reference" / "settings.md").read_text()


def test_the_page_is_current() -> None:
    assert SCRIPT["page"](PAGE) == PAGE, "make settings"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_described(name: str) -> None:
    [row] = [
        line for line in PAGE.splitlines() if line.startswith(f"| `--{name}` |".replace("_", "-"))
    ]
    description = row.split(" | ")[-1].removesuffix(" |")
    assert description[0].isupper() and description[-1] in ".…", description


def test_a_setting_without_a_group_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCRIPT["GROUPS"], "Access", ["keys"])
    with pytest.raises(ValueError, match="open_metrics"):
        SCRIPT["page"](PAGE)
