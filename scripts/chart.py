"""Writes what of the chart follows from something else: `python scripts/chart.py`.

- `config` in values.schema.json: the service's settings, except those that the chart sets itself.
- The table in README.md: the comments of values.yaml that begin with `# --`.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from service.settings import Settings

CHART = Path(__file__).parents[1] / "helm" / "drepmrec"
SET_BY_THE_CHART = {"port", "store", "cache", "keys", "state"} | {
    f"redis_{name}" for name in ("url", "cluster", "sentinel")
}
"""Settings that follow from values of their own."""
TABLE = re.compile(r"(?<=<!-- values -->\n).*(?=<!-- end of values -->)", re.DOTALL)
WIDTH = 100


def schema(current: str) -> str:
    """values.schema.json with the settings that there are now."""
    values = json.loads(current)
    settings = Settings.model_json_schema()["properties"]
    config = values["properties"]["config"]
    config["properties"] = {
        name: _without_title(setting)
        for name, setting in settings.items()
        if name not in SET_BY_THE_CHART
    }
    return _json(values) + "\n"


def readme(current: str, values: str) -> str:
    """README.md with the table of the values that there are now."""
    rows = [
        f"| `{path}` | `{json.dumps(default)}` | {text} |"
        for path, default, text in documented(values)
    ]
    table = "\n".join(["| value | default | |", "|---|---|---|", *rows]) + "\n"
    return TABLE.sub(lambda _: table, current)


def documented(values: str) -> Iterator[tuple[str, Any, str]]:
    """Path, default and description of each value.

    Raises:
        ValueError: a value has no description, neither itself nor the map that it is in.
    """
    lines = values.splitlines()

    def walk(node: yaml.Node, above: str, needed: bool) -> Iterator[tuple[str, Any, str]]:
        for key, value in node.value:
            path = f"{above}{key.value}"
            text = _comment(lines, key.start_mark.line) if not node.flow_style else None
            if text is not None:
                yield path, yaml.safe_load(yaml.serialize(value)), text
            elif needed and not isinstance(value, yaml.MappingNode):
                raise ValueError(f"values.yaml: {path} has no comment that begins with `# --`")
            if isinstance(value, yaml.MappingNode):
                yield from walk(value, f"{path}.", needed and text is None)

    yield from walk(yaml.compose(values, yaml.SafeLoader), "", needed=True)


def _comment(lines: list[str], line: int) -> str | None:
    """The comment right above a line, if it begins with `# --`."""
    words: list[str] = []
    while line and (text := lines[line - 1].strip()).startswith("#"):
        line -= 1
        words.insert(0, text.removeprefix("# ").removeprefix("#"))
        if words[0].startswith("-- "):
            return " ".join(words).removeprefix("-- ")
    return None


def _without_title(setting: dict[str, Any]) -> dict[str, Any]:
    return {
        key: [_without_title(choice) for choice in value] if key == "anyOf" else value
        for key, value in setting.items()
        if key not in ("title", "default", "format")
    }


def _json(value: Any, indent: str = "") -> str:
    """JSON in which whatever fits into a line is one line."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or len(indent) + len(line) < WIDTH:
        return line
    inner = indent + "  "
    if isinstance(value, list):
        parts = [inner + _json(item, inner) for item in value]
        return "[\n" + ",\n".join(parts) + f"\n{indent}]"
    parts = [f"{inner}{json.dumps(key)}: {_json(item, inner)}" for key, item in value.items()]
    return "{\n" + ",\n".join(parts) + f"\n{indent}}}"


def main() -> None:
    """Write both files."""
    path = CHART / "values.schema.json"
    path.write_text(schema(path.read_text()))
    path = CHART / "README.md"
    path.write_text(readme(path.read_text(), (CHART / "values.yaml").read_text()))


if __name__ == "__main__":
    main()
