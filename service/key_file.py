"""The file of API keys: who may do what, and how often. It holds no key, only digests."""

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
from service.key_text import without_keys

KeyScope = Literal["read", "write", "admin"]


class KeyFileError(InputError):
    """The file cannot be read, or an entry does not fit."""


class KeyEntry(BaseModel):
    """An entry of the file: a key's holder."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="for logs and metrics")
    ]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="of the key, in hex")]
    scopes: Annotated[frozenset[KeyScope], Field(min_length=1)]
    requests_per_second: Annotated[
        float | None, Field(gt=0, le=1e6, allow_inf_nan=False, description="null for any number")
    ]
    burst: Annotated[
        int | None, Field(ge=1, description="requests at once [those of one second]")
    ] = None

    @field_validator("name")
    @classmethod
    def _is_no_key(cls, value: str) -> str:
        if without_keys(value) != value:
            raise ValueError("is a key; keys do not belong into this file")
        return value

    @model_validator(mode="after")
    def _burst_of_a_rate(self) -> Self:
        if self.burst is not None and self.requests_per_second is None:
            raise ValueError("burst is of no use without requests_per_second")
        return self

    @property
    def digest(self) -> bytes:
        """What the key is compared by."""
        return bytes.fromhex(self.sha256)

    @property
    def at_once(self) -> int:
        """Requests that may come at once."""
        return self.burst or max(1, ceil(self.requests_per_second or 1))


_ENTRIES = TypeAdapter(Annotated[list[KeyEntry], Field(min_length=1)])


def read_key_file(path: Path) -> list[KeyEntry]:
    """The entries of a key file.

    Raises:
        KeyFileError: it cannot be read, or an entry does not fit; names the file and the entry,
            never a value: one may be a key.
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
    for field_name in ("name", "sha256"):
        first_with: dict[str, int] = {}
        for number, one in enumerate(entries, 1):
            earlier = first_with.setdefault(getattr(one, field_name), number)
            if earlier != number:
                raise KeyFileError(
                    f"{path}: entry {number}: {field_name}: is that of entry {earlier}, too"
                )
    return entries
