"""Generated parts of the Helm chart: `python scripts/chart.py` writes them anew.

- `config` in values.schema.json, from the service's settings without those that the chart sets.
- The table in README.md, from the comments of values.yaml that begin with `# --`.
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
"""Settings that the chart derives from other values than `config`."""
TABLE = re.compile(r"(?<=<!-- values -->\n).*(?=<!-- end of values -->)", re.DOTALL)
WIDTH = 100
"""Maximum length of a line of the JSON, in characters, as everywhere in the project."""


def schema(current: str) -> str:
    """values.schema.json with the current settings."""
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
    """README.md with the table of the current values."""
    rows = [
        f"| `{path}` | `{json.dumps(default)}` | {text} |"
        for path, default, text in documented(values)
    ]
    table = "\n".join(["| value | default | description |", "|---|---|---|", *rows]) + "\n"
    return TABLE.sub(lambda _: table, current)


def documented(values: str) -> Iterator[tuple[str, Any, str]]:
    """Path, default and description of each value.

    Raises:
        ValueError: neither a value nor a map around it has a description.
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
    """The comment directly above a line, None unless it begins with `# --`."""
    words: list[str] = []
    while line and (text := lines[line - 1].strip()).startswith("#"):
        line -= 1
        words.insert(0, text.removeprefix("# ").removeprefix("#"))
        if words[0].startswith("-- "):
            return " ".join(words).removeprefix("-- ")
    return None


def _without_title(setting: dict[str, Any]) -> dict[str, Any]:
    return {
        key: [_without_title(choice) for choice in value]
        if key == "anyOf"
        else " ".join(value.split())
        if key == "description"
        else value
        for key, value in setting.items()
        if key not in ("title", "default", "format")
    }


def _json(value: Any, indent: str = "") -> str:
    """JSON with every array and object on one line that fits into `WIDTH`."""
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
    """Write values.schema.json and README.md."""
    path = CHART / "values.schema.json"
    path.write_text(schema(path.read_text()))
    path = CHART / "README.md"
    path.write_text(readme(path.read_text(), (CHART / "values.yaml").read_text()))


if __name__ == "__main__":
    main()
