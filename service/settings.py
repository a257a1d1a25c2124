"""What can be configured, once: each field is a command-line option and an environment variable.

`--redis-url` is `DREPMREC_REDIS_URL`, and so on; the command line beats the environment.
"""

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, CliApp, NoDecode, SettingsConfigDict

from bundle.errors import InputError
from bundle.store_url import parse_root

ENV_PREFIX = "DREPMREC_"
REDIS_SCHEMES = ("redis", "rediss", "unix")
ORIGIN = re.compile(r"https?://[^/\s]+|\*")


class Settings(BaseSettings):
    """Serve recommendations from the live bundle of a store."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        frozen=True,
        extra="forbid",
        cli_prog_name="python -m service",
        cli_kebab_case=True,
        cli_hide_none_type=True,
    )

    store: Annotated[
        str, Field(description="store to serve from: a directory, or s3://, gs://, az://…")
    ]
    cache: Annotated[
        Path | None,
        Field(description="directory for copies of bundles of an object store [~/.cache/drepmrec]"),
    ] = None
    host: Annotated[str, Field(description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="port; 0 takes a free one")] = 8000
    workers: Annotated[int, Field(ge=1, le=256, description="processes")] = 1
    threads: Annotated[
        int | None,
        Field(
            ge=1, description="searches at a time and ONNX threads, in a worker [cores / workers]"
        ),
    ] = None
    max_concurrency: Annotated[
        int, Field(ge=1, description="requests in work in a worker; more get 503 at once")
    ] = 256
    drain_seconds: Annotated[
        int, Field(ge=0, description="what a request may still take after SIGTERM, s")
    ] = 20
    pictures: Annotated[
        Path | None,
        Field(
            description="folder that the items' image paths are relative to; opens pages to look "
            "at under /browse [none: no pages]"
        ),
    ] = None
    keys: Annotated[
        Path | None,
        Field(description="file of the API keys that may be used [none: open to everybody]"),
    ] = None
    open_metrics: Annotated[
        bool, Field(description="whether /metrics asks for no key; else for one with `admin`")
    ] = True
    docs: Annotated[
        bool, Field(description="whether there are /docs, /redoc and /openapi.json")
    ] = True
    cors_origins: Annotated[
        tuple[str, ...],
        NoDecode,
        Field(description="whose pages may call from a browser, with commas, or * [nobody's]"),
    ] = ()
    request_timeout: Annotated[
        float,
        Field(
            gt=0,
            le=3600,
            description="for a request to come whole, and from its head to its answer, s",
        ),
    ] = 5.0
    otel: Annotated[
        bool, Field(description="send OpenTelemetry traces, as the variables OTEL_* say")
    ] = False
    max_body: Annotated[
        int, Field(ge=1024, description="bytes of a request body that are read")
    ] = 1_000_000
    max_id_length: Annotated[
        int, Field(ge=1, le=4096, description="characters of a user_id or item_id")
    ] = 256
    content_encoders: Annotated[
        dict[str, Path],
        Field(
            description="folders with an encoder.json that make features of texts and pictures of "
            "new items, by modality, as JSON [none]"
        ),
    ] = Field(default={})
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Field(description="debug logs every request"),
    ] = "info"
    redis_url: Annotated[
        SecretStr | None, Field(description="Redis for user vectors [none: in the process only]")
    ] = None
    redis_cluster: Annotated[bool, Field(description="the URL is that of a Redis Cluster")] = False
    redis_sentinel: Annotated[
        str | None,
        Field(
            min_length=1,
            description="the URL is that of Sentinels, and this the name of their master [none]",
        ),
    ] = None
    redis_timeout: Annotated[
        float, Field(gt=0, le=60, description="what a request waits for Redis at most, s")
    ] = 0.05
    redis_pool_size: Annotated[
        int, Field(ge=1, le=1000, description="look-ups on the way to Redis at a time, in a worker")
    ] = 4
    redis_namespace: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9._-]+$", description="part of each key, to share a Redis"),
    ] = "default"
    redis_write_queue: Annotated[
        int, Field(ge=1, description="vectors waiting to be written; more are dropped")
    ] = 1000
    breaker_failures: Annotated[
        int, Field(ge=1, description="failures in a row after which Redis is left alone")
    ] = 3
    breaker_reset: Annotated[
        float, Field(gt=0, description="time between probes of a Redis left alone, s")
    ] = 5.0
    state: Annotated[
        Path | None,
        Field(
            description="SQLite file for events and changes of items, where there is no Redis "
            "[state.sqlite3 in a local store]"
        ),
    ] = None
    state_timeout: Annotated[
        float, Field(gt=0, le=60, description="what writing events and changes may take, s")
    ] = 2.0
    state_poll: Annotated[
        float, Field(gt=0, le=60, description="time between looks for other replicas' changes, s")
    ] = 0.25
    events_ttl: Annotated[
        int,
        Field(ge=60, description="how long a user's events in Redis count without a refresh, s"),
    ] = 30 * 24 * 3600
    event_weights: Annotated[
        dict[str, float],
        Field(description="weight of an event by its type, as JSON; 1 for others"),
    ] = Field(default={"dislike": -0.5})
    experiment: Annotated[
        Path | None, Field(description="JSON file with arms and their shares [none]")
    ] = None
    shadow_version: Annotated[
        str | None, Field(description="bundle that answers a sample of requests, too [none]")
    ] = None
    shadow_share: Annotated[
        float, Field(ge=0, le=1, description="of the requests, that sample")
    ] = 0.01
    recall_share: Annotated[
        float,
        Field(ge=0, le=1, description="of the searches in an index, compared with exact search"),
    ] = 0.001
    reload_poll: Annotated[
        float,
        Field(ge=0, description="time between looks for a new live bundle, s; 0 never looks"),
    ] = 5.0
    pages_ttl: Annotated[int, Field(ge=1, description="life of a cursor, s")] = 900
    vector_ttl: Annotated[int, Field(ge=1, description="life of a vector in Redis, s")] = 3600
    vector_ttl_jitter: Annotated[
        float, Field(ge=0, le=0.9, description="share by which that life varies at random")
    ] = 0.1
    vector_cache_size: Annotated[
        int, Field(ge=0, description="user vectors kept in a worker; 0 keeps none")
    ] = 10_000

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

    @field_validator("redis_url")
    @classmethod
    def _redis_url_is_one(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        url = urlsplit(value.get_secret_value())
        if url.scheme not in REDIS_SCHEMES:
            raise ValueError("must begin with redis://, rediss:// or unix://")
        # A raw / ? # or @ in a password moves the rest of it out of the part that `public` hides.
        escaped = "@" not in url.path + url.query + url.fragment
        if not escaped or not (_port_is_number(url) and (url.hostname or url.scheme == "unix")):
            raise ValueError("is no URL of a Redis; in a password, / ? # @ must be percent-encoded")
        return value

    @field_validator("redis_sentinel")
    @classmethod
    def _sentinel_has_a_url(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None:
            url = info.data.get("redis_url")
            if url is None or url.get_secret_value().startswith("unix:"):
                raise ValueError("--redis-url must be that of the Sentinels")
            if info.data.get("redis_cluster"):
                raise ValueError("a Redis Cluster has no Sentinels")
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


def _port_is_number(url: SplitResult) -> bool:
    try:
        return url.port is None or url.port > 0
    except ValueError:
        return False


def parse_settings(arguments: Sequence[str]) -> Settings:
    """Settings from command-line arguments and the environment.

    Raises:
        SystemExit: 0 after `--help`, 2 for an unknown option.
        pydantic.ValidationError: a value does not fit.
    """
    return CliApp.run(Settings, cli_args=list(arguments))
