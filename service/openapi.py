"""The OpenAPI schema: `python -m service.openapi` prints what `docs/reference/openapi.json` has."""

import json
import sys

from service.app import create_app
from service.settings import Settings


def openapi_text() -> str:
    """The OpenAPI schema as indented JSON."""
    schema = create_app(Settings(store="store")).openapi()
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(openapi_text())
