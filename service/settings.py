"""Settings of the service: each field is a command-line option and an environment variable.

`--redis-url` is `DREPMREC_REDIS_URL`, and so on; the option takes precedence. What stands below a
field is printed by `--help` and in docs/reference/settings.md, which `make settings` writes.
"""

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import orjson
from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    CliApp,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from bundle.errors import InputError
from bundle.events.redis_url import check_one_address, check_redis_url
from bundle.events.weights import EVENT_WEIGHTS, Weight
from bundle.store.url import parse_root

ENV_PREFIX = "DREPMREC_"
ORIGIN = re.compile(r"https?://[^/\s]+|\*")


def _from_json(value: Any) -> Any:
    """The object of a JSON text. The library's own parser would end in a traceback."""
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"must be a JSON object ({error})") from error


JSON_TEXT = BeforeValidator(_from_json)


class Settings(BaseSettings):
    """Serve recommendations from the live bundle of a store."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        cli_prog_name="python -m service",
        cli_kebab_case=True,
        cli_hide_none_type=True,
    )

    store: str
    """Store to serve from: a directory, or a URL such as s3://bucket/prefix, gs://… or az://…"""
    cache: Path | None = None
    """Directory for copies of bundles from an object store; the workers share it.
    [~/.cache/drepmrec]"""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 takes a free one, which the log names."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Number of worker processes."""
    threads: Annotated[int | None, Field(ge=1)] = None
    """Concurrent searches and ONNX Runtime threads of a worker. [CPU quota of the container /
    workers]"""
    max_concurrency: Annotated[int, Field(ge=1)] = 64
    """Maximum number of requests in progress in a worker; more wait for their turn. A batch of
    searches has no more, and what more requests allocate no longer fits into a core's cache."""
    max_wait: Annotated[float, Field(ge=0, le=60)] = 0.5
    """Maximum time that a request waits for its turn, in seconds; then it gets 503. With 0 it gets
    503 at once."""
    max_connections: Annotated[int, Field(ge=1)] = 4096
    """Maximum number of open connections of a worker; more wait to be accepted."""
    drain_seconds: Annotated[int, Field(ge=0)] = 20
    """Maximum time to finish running requests after SIGTERM, in seconds."""
    pictures: Path | None = None
    """Folder that the image paths of the items table are relative to, for /pictures. [none: no
    pictures]"""
    studio: bool = False
    """Page /studio for looking at users, items, bundles and metrics; if false, there is none. Its
    files need no API key; what it shows comes from the API, with a key that has all scopes."""
    keys: Path | None = None
    """JSON file with the accepted API keys. [none: no key is needed]"""
    open_metrics: bool = True
    """Access to /metrics without an API key; if false, it needs one with the scope `admin`."""
    docs: bool = True
    """Pages /docs and /openapi.json, which need no API key; if false, there are none."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Comma-separated origins that CORS allows, or *. [none]"""
    request_timeout: Annotated[float, Field(gt=0, le=3600)] = 5.0
    """Maximum time to receive a request's body and, separately, to answer it, in seconds."""
    otel: bool = False
    """OpenTelemetry traces, which the OTEL_* variables configure; if false, none are sent."""
    max_body: Annotated[int, Field(ge=1024)] = 1_000_000
    """Maximum size of a request body, in bytes; larger ones get 413."""
    max_id_length: Annotated[int, Field(ge=1, le=4096)] = 256
    """Maximum length of a user_id or item_id, in characters."""
    content_encoders: Annotated[dict[str, Path], NoDecode, JSON_TEXT] = Field(default={})
    """Folders of the encoders (encoder.json) that turn texts and pictures of new items into
    features, by modality, as JSON. [none]"""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is logged; debug logs every request."""
    redis_url: SecretStr | None = None
    """URL of the Redis for user vectors, events and item changes: redis://, rediss:// or unix://;
    of a Redis Cluster or Sentinels with several addresses, redis://one:6379,two:6379. [none:
    vectors are cached in the process, events are kept in the file of --state]"""
    redis_cluster: bool = False
    """Redis Cluster at the Redis URL."""
    redis_sentinel: Annotated[str | None, Field(min_length=1, validate_default=True)] = None
    """Name of the master, if the Redis URL is that of Sentinels. [none]"""
    redis_timeout: Annotated[float, Field(gt=0, le=60)] = 0.05
    """Maximum time that a request waits for a reply of Redis, in seconds; it asks for up to two,
    but for none after it has waited in vain."""
    redis_pool_size: Annotated[int, Field(ge=1, le=1000)] = 4
    """Concurrent round trips to Redis in a worker, each for up to 100 users."""
    redis_namespace: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")] = "default"
    """Part of every key in Redis, so that several services can share one."""
    redis_write_queue: Annotated[int, Field(ge=1)] = 1000
    """Maximum number of user vectors that wait to be written to Redis; more are dropped."""
    breaker_failures: Annotated[int, Field(ge=1)] = 3
    """Consecutive failures of Redis after which the circuit breaker opens."""
    breaker_reset: Annotated[float, Field(gt=0)] = 5.0
    """Time between probes of Redis while the circuit breaker is open, in seconds."""
    state: Path | None = None
    """SQLite file for events and item changes, used if there is no Redis. [state.sqlite3 in a local
    store]"""
    state_timeout: Annotated[float, Field(gt=0, le=60)] = 2.0
    """Maximum time to write events and item changes, in Redis or in the SQLite file, in seconds."""
    state_poll: Annotated[float, Field(gt=0, le=60)] = 0.25
    """Time between checks for item changes made by other processes, in seconds."""
    events_ttl: Annotated[int, Field(ge=60)] = 30 * 24 * 3600
    """Time that a user's events count in Redis if no refresh takes them in, in seconds."""
    event_weights: Annotated[dict[str, Weight], NoDecode, JSON_TEXT] = Field(
        default=dict(EVENT_WEIGHTS)
    )
    """Weight of an event by its type, as JSON; other types have weight 1."""
    experiment: Path | None = None
    """JSON file with the arms of an experiment and their shares. [none]"""
    outcome_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Fraction of the users whose answers are remembered, so that events that follow are attributed
    to what was shown; 0 remembers none."""
    outcome_window: Annotated[int, Field(ge=60, le=30 * 24 * 3600)] = 24 * 3600
    """Maximum time between an answer and an event that is attributed to it, in seconds."""
    outcome_ttl: Annotated[int, Field(ge=24 * 3600)] = 90 * 24 * 3600
    """Time for which exposures and attributed events are kept, in seconds."""
    shadow_version: str | None = None
    """Version of a bundle that also answers a sample of the requests, for comparison. [none]"""
    shadow_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Fraction of requests also answered by the shadow bundle."""
    recall_share: Annotated[float, Field(ge=0, le=1)] = 0.001
    """Fraction of index searches repeated exactly, to measure the index's recall."""
    reload_poll: Annotated[float, Field(ge=0)] = 5.0
    """Time between checks for a new live bundle, in seconds; 0 disables them."""
    pages_ttl: Annotated[int, Field(ge=1)] = 900
    """Lifetime of a pagination cursor, in seconds."""
    vector_ttl: Annotated[int, Field(ge=1)] = 3600
    """Lifetime of a user vector in Redis, in seconds."""
    vector_ttl_jitter: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    """Fraction by which that lifetime varies at random."""
    vector_cache_size: Annotated[int, Field(ge=0)] = 10_000
    """Maximum number of user vectors cached in a worker; 0 disables the cache."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Options, then variables. An empty variable, which compose files make, is no variable."""
        del env_settings, dotenv_settings, file_secret_settings
        return init_settings, EnvSettingsSource(settings_cls, env_ignore_empty=True)

    @field_validator("*", mode="before")
    @classmethod
    def _not_empty(cls, value: Any) -> Any:
        if isinstance(value, str) and not value.strip():
            raise ValueError("is empty; leave the option out for its default")
        return value

    @field_validator("port", mode="before")
    @classmethod
    def _not_a_service_link(cls, value: Any) -> Any:
        if isinstance(value, str) and value.startswith("tcp://"):
            raise ValueError(
                "Kubernetes sets this variable for a Service named 'drepmrec'; "
                "give the pod `enableServiceLinks: false`"
            )
        return value

    @field_validator("open_metrics")
    @classmethod
    def _closed_by_keys(cls, value: bool, others: ValidationInfo) -> bool:
        if not value and others.data.get("keys") is None:
            raise ValueError("without keys everything is open: --keys is missing")
        return value

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(origin for part in value.split(",") if (origin := part.strip()))

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(map(ORIGIN.fullmatch, value)):
            raise ValueError("must be origins like https://shop.example:8443, without a path, or *")
        return value

    @field_validator("otel")
    @classmethod
    def _otel_is_installed(cls, value: bool) -> bool:
        if value and not _is_installed("opentelemetry.exporter.otlp.proto.http.trace_exporter"):
            raise ValueError("needs packages that are not installed: pip install 'drepmrec[otel]'")
        return value

    @field_validator("content_encoders")
    @classmethod
    def _content_is_installed(cls, value: dict[str, Path]) -> dict[str, Path]:
        if value and not (_is_installed("tokenizers") and _is_installed("PIL")):
            reason = "needs packages that are not installed: pip install 'drepmrec[content]'"
            raise ValueError(reason)
        return value

    @field_validator("store", mode="before")
    @classmethod
    def _store_is_one(cls, value: Any) -> Any:
        try:
            return str(parse_root(value)) if isinstance(value, str | Path) else value
        except InputError as error:
            raise ValueError(str(error)) from error

    @field_validator("redis_url", "redis_cluster", "redis_sentinel")
    @classmethod
    def _redis_url_fits(cls, value: Any, info: ValidationInfo) -> Any:
        url = value if info.field_name == "redis_url" else info.data.get("redis_url")
        cluster = info.field_name == "redis_cluster" and bool(value)
        sentinel = info.field_name == "redis_sentinel" and value is not None
        single = info.field_name == "redis_sentinel" and not (
            value or info.data.get("redis_cluster")
        )
        if sentinel and url is None:
            raise ValueError("--redis-url must be that of the Sentinels")
        if sentinel and info.data.get("redis_cluster"):
            raise ValueError("a Redis Cluster has no Sentinels")
        if url is not None:
            whose = "" if info.field_name == "redis_url" else "--redis-url "
            try:
                check_redis_url(url.get_secret_value(), cluster, sentinel)
                if single:
                    check_one_address(url.get_secret_value())
            except InputError as error:
                raise ValueError(f"{whose}{error}") from None
        return value

    def public(self) -> dict[str, Any]:
        """All settings as JSON values, without user, password and options of the Redis URL."""
        shown = self.model_dump(mode="json")
        if self.redis_url is not None:
            url = urlsplit(self.redis_url.get_secret_value())
            host = url.netloc.rpartition("@")[2]
            shown["redis_url"] = f"{url.scheme}://{host}{url.path}"
        return shown


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package around it is missing
        return False


def parse_settings(arguments: Sequence[str]) -> Settings:
    """Settings from command-line arguments and the environment.

    Raises:
        SystemExit: 0 after `--help`, 2 for an unknown option.
        pydantic.ValidationError: a value does not fit.
    """
    return CliApp.run(Settings, cli_args=list(arguments))
