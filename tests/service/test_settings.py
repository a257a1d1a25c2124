"""Sources of the settings."""

import pytest

from service.__main__ import main
from service.settings import ENV_PREFIX, Settings, parse_settings


def test_the_command_line_has_precedence_over_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DREPMREC_STORE", "from-environment")
    monkeypatch.setenv("DREPMREC_WORKERS", "3")
    settings = parse_settings(["--store", "from-command-line"])
    assert (str(settings.store), settings.workers) == ("from-command-line", 3)


def test_an_empty_variable_means_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = parse_settings(["--store", "somewhere"])
    for name in Settings.model_fields:
        if name != "store":
            monkeypatch.setenv(f"{ENV_PREFIX}{name.upper()}", "")
    assert parse_settings(["--store", "somewhere"]) == expected


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--host", ""], "--host (DREPMREC_HOST): is empty"),
        (["--keys="], "--keys (DREPMREC_KEYS): is empty"),
        (["--redis-url", " "], "--redis-url (DREPMREC_REDIS_URL): is empty"),
        (["--event-weights", "x"], "--event-weights (DREPMREC_EVENT_WEIGHTS): must be a JSON obj"),
        (["--event-weights", "[]"], "--event-weights"),
        (["--event-weights", '{"view": NaN}'], "--event-weights"),
        (["--event-weights", '{"view": 1e300}'], "--event-weights"),
        (["--event-weights", '{"view": null}'], "--event-weights"),
        (["--event-weights", '{"view": 1}', "--event-weights", '{"like": 2}'], "--event-weights"),
        (["--content-encoders", "x"], "--content-encoders (DREPMREC_CONTENT_ENCODERS): must be"),
        (["--content-encoders", '{"text": 1}'], "--content-encoders"),
        (["--redis-url", "redis://h?timeout=5"], "--redis-url (DREPMREC_REDIS_URL): has an option"),
        (["--redis-url", "redis://h/1", "--redis-cluster", "true"], "has only 0"),
        (["--redis-sentinel", "x"], "--redis-sentinel (DREPMREC_REDIS_SENTINEL): --redis-url must"),
    ],
)
def test_values_that_are_refused(
    options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--store", "somewhere", *options]) == 2
    line = capsys.readouterr().err
    assert sentence in line
    assert line.count("\n") == 1
