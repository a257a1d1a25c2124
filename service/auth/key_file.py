"""File of API keys: names, scopes and rates. It holds digests and no keys."""

from math import ceil
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from bundle.errors import InputError
from service.redaction import without_keys

KeyScope = Literal["read", "write", "admin"]


class KeyFileError(InputError):
    """The file cannot be read, or an entry is invalid."""


class KeyEntry(BaseModel):
    """Entry of the file: the holder of a key."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="name in logs and metrics")
    ]
    sha256: Annotated[
        str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the key, in hex")
    ]
    scopes: Annotated[frozenset[KeyScope], Field(min_length=1)]
    requests_per_second: Annotated[
        float | None,
        Field(gt=0, le=1e6, allow_inf_nan=False, description="maximum rate; null for no limit"),
    ]
    burst: Annotated[
        int | None,
        Field(ge=1, description="number of requests that may come at once [those of one second]"),
    ] = None

    @field_validator("name")
    @classmethod
    def _is_no_key(cls, value: str) -> str:
        if without_keys(value) != value:
            raise ValueError("is a key; the file must not contain keys")
        return value

    @model_validator(mode="after")
    def _burst_of_a_rate(self) -> Self:
        if self.burst is not None and self.requests_per_second is None:
            raise ValueError("burst requires requests_per_second")
        return self

    @property
    def digest(self) -> bytes:
        """The bytes of the key's SHA-256."""
        return bytes.fromhex(self.sha256)

    @property
    def at_once(self) -> int:
        """Number of requests that may come at once."""
        return self.burst or max(1, ceil(self.requests_per_second or 1))


_ENTRIES = TypeAdapter(list[KeyEntry])


def read_key_file(path: Path) -> list[KeyEntry]:
    """The entries of a key file.

    Raises:
        KeyFileError: it cannot be read, or an entry is invalid; names the file and the entry, but
            no value, which may be a key.
    """
    try:
        entries = _ENTRIES.validate_json(path.read_bytes())
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read ({error.strerror})") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        entry, *field = first["loc"] or ("",)
        where = f"entry {int(entry) + 1}: " if isinstance(entry, int) else ""
        where += "".join(f"{part}: " for part in field)
        reason = first["msg"].removeprefix("Value error, ")
        raise KeyFileError(without_keys(f"{path}: {where}{reason}")) from None
    if not entries:
        # It may be half written. Without any key nobody could use the service.
        raise KeyFileError(f"{path}: has no keys; to withdraw the last one, replace it by another")
    for field_name in ("name", "sha256"):
        first_with: dict[str, int] = {}
        for number, one in enumerate(entries, 1):
            earlier = first_with.setdefault(getattr(one, field_name), number)
            if earlier != number:
                raise KeyFileError(
                    f"{path}: entry {number}: {field_name}: repeats that of entry {earlier}"
                )
    return entries
