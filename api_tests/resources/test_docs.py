"""`/docs` without the internet: what the page loads comes from the service, as it was published."""

import hashlib
import re
from urllib.parse import urljoin

import pytest

from tests.support.running.servers import RunningService
from tests.support.running.service_fixtures import StartService

PUBLISHED = {
    "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
}
"""SHA-256 of the files in swagger-ui-dist 5.35.0."""


def test_the_page_loads_everything_from_the_service(service: RunningService) -> None:
    page = service.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    loaded.remove("data:,")
    assert len(loaded) == 3
    for reference in loaded:
        asset = service.get(urljoin("/docs", reference))
        assert asset.status_code == 200
        kind = "text/css" if reference.endswith("css") else "text/javascript"
        assert asset.headers["content-type"].startswith(kind)
        assert asset.headers["x-content-type-options"] == "nosniff"
        name = reference.rpartition("/")[2]
        if name in PUBLISHED:
            assert hashlib.sha256(asset.content).hexdigest() == PUBLISHED[name]
        else:
            [schema] = re.findall(r'url: "([^"]+)"', asset.text)
            assert service.get(urljoin("/docs", schema)).json()["info"]["title"] == "DRepMRec"
    assert "//" not in "".join(re.findall(r"<[^>]*>", page.text))
    for path in ("/docs/", "/docs/LICENSE", "/docs/..%2Fdocs.py", "/redoc"):
        assert service.get(path).status_code == 404


@pytest.mark.slow
def test_without_docs_there_is_none_of_it(start: StartService) -> None:
    service = start(docs=False)
    for path in ("/docs", "/docs/swagger-ui.css", "/docs/start.js", "/openapi.json"):
        assert service.get(path).status_code == 404
