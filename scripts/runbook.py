"""Writes the studio's runbook from docs/guide/operations.md: `python scripts/runbook.py`."""

import re
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "docs" / "guide" / "operations.md"
PAGE = ROOT / "service" / "api" / "studio_page" / "runbook.html"
FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Runbook · DRepMRec</title>
<link rel="icon" href="icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="base.css">
</head>
<body>
<main class="runbook">
<p><a href="../studio#/operations">Back to the studio</a></p>
<h1>Runbook: what to do at each alert</h1>
{}</main>
</body>
</html>
"""
LINK = re.compile(r"\[([^\]]*)\]\([^)#][^)]*\)")
"""A link to another document, which the service does not have."""


def page() -> str:
    """The page: the section on alerts, each under an anchor of its name."""
    alerts = SOURCE.read_text().split("\n## Alerts\n")[1].split("\n## ")[0]
    parser = MarkdownIt()
    tokens = parser.parse(LINK.sub(r"\1", alerts))
    for heading, text in pairwise(tokens):
        if heading.type == "heading_open":
            heading.tag = "h2"
            heading.attrSet("id", re.findall(r"`(\w+)`", text.content)[0].lower())
        elif heading.type == "heading_close":
            heading.tag = "h2"
    return FRAME.format(parser.renderer.render(tokens, parser.options, {}))


if __name__ == "__main__":
    PAGE.write_text(page())
