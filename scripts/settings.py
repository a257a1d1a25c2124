"""Generates the tables of docs/reference/settings.md: `python scripts/settings.py`.

Names, defaults and descriptions come from `service.settings.Settings`, the headings from GROUPS.
"""

import json
import re
from pathlib import Path

from pydantic.fields import FieldInfo

from service.settings import ENV_PREFIX, Settings

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "settings.md"
TABLES = re.compile(r"(?<=<!-- settings -->\n).*(?=<!-- end of settings -->)", re.DOTALL)
GROUPS = {
    "Bundle": ["store", "cache", "reload_poll"],
    "Process": ["host", "port", "workers", "threads", "drain_seconds", "log_level", "otel"],
    "HTTP": [
        *("max_connections", "max_concurrency", "max_wait", "request_timeout", "max_body"),
        *("max_id_length", "cors_origins", "docs", "pictures", "studio", "pages_ttl"),
    ],
    "Access": ["keys", "open_metrics"],
    "Events and items": [
        *("state", "state_timeout", "state_poll", "events_ttl", "event_weights"),
        "content_encoders",
    ],
    "Redis": [
        *("redis_url", "redis_cluster", "redis_sentinel", "redis_namespace", "redis_timeout"),
        *("redis_pool_size", "redis_write_queue", "breaker_failures", "breaker_reset"),
    ],
    "Cache of user vectors": ["vector_cache_size", "vector_ttl", "vector_ttl_jitter"],
    "Experiments and comparisons": [
        *("experiment", "outcome_share", "outcome_window", "outcome_ttl"),
        *("shadow_version", "shadow_share", "recall_share"),
    ],
}
"""Settings by the heading that they stand under."""


def page(current: str) -> str:
    """The page with the settings that there are now.

    Raises:
        ValueError: a setting is in no group, or a group names one that does not exist.
    """
    fields = Settings.model_fields
    grouped = [name for names in GROUPS.values() for name in names]
    if sorted(grouped) != sorted(fields):
        raise ValueError(f"GROUPS and Settings differ in {set(grouped) ^ set(fields)}")
    tables = [_table(title, {name: fields[name] for name in GROUPS[title]}) for title in GROUPS]
    return TABLES.sub(lambda _: "\n".join(["", *tables, ""]), current)


def _table(title: str, fields: dict[str, FieldInfo]) -> str:
    rows = [f"## {title}\n", "| option | variable | default | description |", "|---|---|---|---|"]
    for name, field in fields.items():
        text, default = _described(field)
        option, variable = f"`--{name.replace('_', '-')}`", f"`{ENV_PREFIX}{name.upper()}`"
        rows.append(f"| {option} | {variable} | {default} | {text} |")
    return "\n".join(rows) + "\n"


def _described(field: FieldInfo) -> tuple[str, str]:
    """The description and the default, which the description gives in brackets if it is none."""
    text = " ".join((field.description or "").split())
    text, _, special = text.removesuffix("]").partition(" [")
    if field.is_required():
        return text, "required"
    if special:
        return text, special
    default = field.default if isinstance(field.default, str) else json.dumps(field.default)
    return text, f"`{default}`"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(PAGE.read_text()))


if __name__ == "__main__":
    main()
