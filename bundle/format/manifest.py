"""The bundle manifest: versions, dimensions, checksums and provenance of everything in a bundle."""

import hashlib
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from bundle.errors import BundleError

MANIFEST = "manifest.json"
MIN_YEAR, MAX_YEAR = 1970, 9999
"""Years in which bundles can be made; beyond them a time cannot be converted to UTC."""
POPULARITY = "popularity"
"""Name of the last part, a single column: the bias of an item, where user vectors have a 1."""
STAMP = "%Y%m%dT%H%M%SZ"
"""Format of the creation time in a version, UTC; it sorts as text."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


FileName = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
"""Name of a file in the bundle's directory; a path that leads out of it is refused."""


class FileEntry(_Strict):
    """Size in bytes and sha256 (hex) of one file."""

    size: int
    sha256: str

    def compare(self, found: "FileEntry", where: Path | str) -> None:
        """Compare the manifest's entry with the file found.

        Args:
            found: size and checksum of the file.
            where: its path or URL, for the message.

        Raises:
            BundleError: they differ.
        """
        if found.size != self.size:
            raise BundleError(f"{where}: has {found.size} bytes, the manifest says {self.size}")
        if found.sha256 != self.sha256:
            raise BundleError(f"{where}: checksum differs from the manifest; the file was altered")


class Part(_Strict):
    """A line or modality, and the columns start ≤ d < stop of the vectors to which it contributes.

    Parts may share columns. `item_parts.npy` holds the contributions side by side, in the order of
    the parts. A score is the sum over the parts of ⟨the user's columns, the part's contribution⟩.
    """

    name: str
    start: int
    stop: int


IndexKind = Literal["flat", "ivf", "ivf_sq8", "ivf_pq"]
"""`flat`: all vectors. `ivf`: vectors in inverted lists. `ivf_sq8`: a byte for each of their
numbers. `ivf_pq`: a byte for four of them (product quantisation)."""


class IndexInfo(_Strict):
    """Parameters of a FAISS index, and its recall against exact search.

    Fields that an index does not have are left out of the manifest, so that bundles of versions
    that did not know them keep their bytes.
    """

    LATER: ClassVar = ("displaced", "reach", "budget", "similar")

    kind: IndexKind
    nprobe: int = Field(description="inverted lists visited for a query; 0 for a flat index")
    recall: float = Field(
        description="recall@20 against exact search on a sample of users without the items that "
        "they have seen; half of them have seen the most"
    )
    displaced: list[int] = Field(
        default=[], description="see `bundle.format.reach`; only for lists of codes"
    )
    reach: list[list[float]] = Field(default=[], description="see `bundle.format.reach`")
    budget: int | None = Field(
        default=None, description="bytes that the indexes may have, if not the default"
    )
    similar: "IndexInfo | None" = Field(
        default=None, description="of `similar.faiss`, for cosines of items; recall of items"
    )

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        return {
            name: value
            for name, value in dump(self).items()
            if name not in self.LATER or getattr(self, name) != fields[name].default
        }


class Taken(_Strict):
    """Extent of the service's state that a bundle contains, so that nothing counts twice.

    Attributes:
        events: number of the newest part of the store's event archive that it contains.
        notes: number of the newest change (`bundle.events.records`) that it contains.
    """

    events: int = 0
    notes: int = 0


class Verdict(_Strict):
    """The gate's verdict before publication.

    Attributes:
        passed: the bundle is no worse than the one that was live.
        problems: a sentence for each metric that was worse.
        forced: the reason that was given for publishing it in spite of the problems.
    """

    passed: bool
    problems: list[str] = []
    forced: str | None = None


class Manifest(_Strict):
    """Everything that must fit together, with checksums.

    Attributes:
        created_at: creation time, UTC.
        parent_version: version that was live when this one was made.
        data_fingerprint: sha256 of the training data.
        n_users, n_items, dim: U, I and D of the stored vectors.
        parts: lines and modalities, and the columns of each.
        modalities: inputs of the item encoder in their order, name → F_m.
        taken: how much of the service's state the bundle contains.
        gate: the gate's verdict; None if the bundle was published without one.
        files: size and checksum of every other file.
    """

    schema_version: Literal[1] = 1
    created_at: datetime
    parent_version: str | None = None
    data_fingerprint: str
    n_users: int
    n_items: int
    dim: int
    dtype: Literal["float32"] = "float32"
    parts: list[Part]
    modalities: dict[str, int]
    index: IndexInfo
    taken: Taken = Taken()
    gate: Verdict | None = None
    files: dict[FileName, FileEntry]

    def to_bytes(self) -> bytes:
        """Content of `manifest.json`."""
        return self.model_dump_json(indent=1).encode() + b"\n"

    def part_columns(self, number: int) -> slice:
        """Columns of `item_parts.npy` that hold the contribution of parts[number]."""
        start = sum(part.stop - part.start for part in self.parts[:number])
        return slice(start, start + self.parts[number].stop - self.parts[number].start)

    @property
    def size(self) -> int:
        """Size of all files but the manifest, in bytes."""
        return sum(entry.size for entry in self.files.values())

    def version(self) -> str:
        """`<UTC time>-<first 8 hex of the manifest's sha256>`."""
        stamp = self.created_at.astimezone(UTC).strftime(STAMP)
        return f"{stamp}-{hashlib.sha256(self.to_bytes()).hexdigest()[:8]}"

    @classmethod
    def read(cls, directory: Path) -> "Manifest":
        """Read `manifest.json`.

        Raises:
            BundleError: it is missing, not valid, or was altered since it was written.
        """
        path = directory / MANIFEST
        try:
            return cls.parse(path.read_bytes(), path)
        except OSError as error:
            raise BundleError(f"{path}: cannot be read ({error.strerror})") from error

    @classmethod
    def parse(cls, raw: bytes, where: Path | str) -> "Manifest":
        """Parse the content of `manifest.json` from the path or URL `where`; raises as `read`."""
        try:
            manifest = cls.model_validate_json(raw)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the whole file"
            raise BundleError(f"{where}: {place}: {first['msg']}") from error
        if not MIN_YEAR <= manifest.created_at.year < MAX_YEAR:
            raise BundleError(f"{where}: created_at: is no time at which a bundle can be made")
        if manifest.to_bytes() != raw:
            raise BundleError(f"{where}: was altered since it was written")
        return manifest

    def check_version(self, version: str, where: Path | str) -> None:
        """Compare with the version under which the store keeps the bundle.

        Raises:
            BundleError: they differ.
        """
        if self.version() != version:
            raise BundleError(
                f"{where}: was altered, or belongs to another bundle, {self.version()}"
            )


def without_popularity(parts: Sequence[Part]) -> int:
    """The number of leading columns of a vector that say what an item is like.

    Popularity, where a bundle has that part, is the last one.
    """
    last = parts[-1]
    return last.start if last.name == POPULARITY else last.stop


def made_at(version: str) -> datetime:
    """Creation time of a bundle, UTC, from its version."""
    return datetime.strptime(version.partition("-")[0], STAMP).replace(tzinfo=UTC)


def describe(path: Path) -> FileEntry:
    """Size and checksum of a file."""
    with path.open("rb") as file:
        return describe_stream(file)


def describe_stream(file: IO[bytes]) -> FileEntry:
    """Size and checksum of an open file."""
    digest = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]
    return FileEntry(size=file.seek(0, os.SEEK_END), sha256=digest.hexdigest())
