"""The studio's files: off by default, part of the wheel, the runbook current."""

import re
import runpy
import tomllib
from fnmatch import fnmatch

from fastapi.testclient import TestClient

from service.api.studio import ASSETS, FILES
from service.app import create_app
from service.settings import Settings
from tests.support.paths import ROOT
from tests.support.running.service_fixtures import Published


def test_there_is_no_studio_by_default(published: Published) -> None:
    with TestClient(create_app(Settings(store=str(published.store)))) as client:
        for path in ("/studio", "/studio/index.html", "/studio/api.js"):
            assert client.get(path).status_code == 404


def test_the_wheel_has_all_files() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["service.api"]
    for path in FILES.iterdir():
        assert path.name in ASSETS
        assert any(fnmatch(f"{FILES.name}/{path.name}", pattern) for pattern in patterns)


def test_the_runbook_is_current() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "runbook.py"))
    assert (FILES / "runbook.html").read_text() == script["page"](), "make runbook"


def test_every_trouble_has_a_section_of_the_runbook() -> None:
    named = re.findall(r'"(DRepMRec\w+)"', (FILES / "troubles.js").read_text())
    assert len(named) > 8
    for alert in [*named, "DRepMRecDown"]:
        assert f'id="{alert.lower()}"' in (FILES / "runbook.html").read_text()
