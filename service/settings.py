"""What can be configured, once: each field is a command-line option and an environment variable.

`--redis-url` is `DREPMREC_REDIS_URL`, and so on; the command line beats the environment.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict

ENV_PREFIX = "DREPMREC_"
REDIS_SCHEMES = ("redis", "rediss", "unix")


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

    store: Annotated[Path, Field(description="directory of the store to serve from")]
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
    max_body: Annotated[
        int, Field(ge=1024, description="bytes of a request body that are read")
    ] = 1_000_000
    max_id_length: Annotated[
        int, Field(ge=1, le=4096, description="characters of a user_id or item_id")
    ] = 256
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Field(description="debug logs every request"),
    ] = "info"
    redis_url: Annotated[
        SecretStr | None, Field(description="Redis for user vectors [none: in the process only]")
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

    def public(self) -> dict[str, Any]:
        """All settings as JSON values, without user, password and options of the Redis URL."""
        shown = self.model_dump(mode="json")
        if self.redis_url is not None:
            url = urlsplit(self.redis_url.get_secret_value())
            host = url.netloc.rpartition("@")[2]
            shown["redis_url"] = f"{url.scheme}://{host}{url.path}"
        return shown


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
