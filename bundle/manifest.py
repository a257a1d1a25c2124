"""What travels together: the manifest of a bundle."""

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bundle.errors import BundleError

MANIFEST = "manifest.json"
POPULARITY = "popularity"
"""Name of a part of one column: an item's bias, where users have 1. It is the last one."""
STAMP = "%Y%m%dT%H%M%SZ"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


FileName = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
"""A file of the bundle's directory, never a path that leads out of it."""


class FileEntry(_Strict):
    """Size in bytes and sha256 (hex) of one file."""

    size: int
    sha256: str

    def compare(self, found: "FileEntry", where: Path | str) -> None:
        """Compare what the manifest says with what was found.

        Raises:
            BundleError: they differ; it names `where`.
        """
        if found.size != self.size:
            raise BundleError(f"{where}: has {found.size} bytes, the manifest says {self.size}")
        if found.sha256 != self.sha256:
            raise BundleError(f"{where}: its checksum is not the manifest's; the file was altered")


class Part(_Strict):
    """A line or modality, and the columns start ≤ d < stop of the vectors to which it adds.

    Parts may share columns: `item_parts.npy` has what each adds to them, side by side in the order
    of the parts. A score is the sum over the parts of ⟨user's columns, what the part adds⟩.
    """

    name: str
    start: int
    stop: int


class IndexInfo(_Strict):
    """How the FAISS index was built and how well it finds what exact search finds."""

    kind: Literal["flat", "ivf"]
    nprobe: int = Field(description="inverted lists visited for a query; 0 for a flat index")
    recall: float = Field(description="recall@20 against exact search on a sample of users")


class Taken(_Strict):
    """What of the service's state is in a bundle, so that nothing of it counts twice.

    Attributes:
        events: number of the newest part of the store's event archive that is in it.
        notes: number of the newest note (`bundle.events`) that is in it.
    """

    events: int = 0
    notes: int = 0


class Verdict(_Strict):
    """What the gate said before the bundle went live.

    Attributes:
        passed: whether it is no worse than the one that was live.
        problems: what was worse, a sentence each.
        forced: the reason given by whoever published it all the same.
    """

    passed: bool
    problems: list[str] = []
    forced: str | None = None


class Manifest(_Strict):
    """Everything that must fit together, with checksums.

    Attributes:
        created_at: UTC time at which the bundle was made.
        parent_version: the version that was live when this one was made.
        data_fingerprint: sha256 of the data set that it was trained on.
        n_users, n_items, dim: U, I and D of the stored vectors.
        parts: what the columns of the vectors are made of.
        modalities: inputs of the item encoder in their order, name → F_m.
        taken: what of the service's state is in it.
        gate: what the gate said; None if it was not asked.
        files: every other file of the bundle.
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
        """The bytes of `manifest.json`."""
        return self.model_dump_json(indent=1).encode() + b"\n"

    def part_columns(self, number: int) -> slice:
        """The columns of `item_parts.npy` that belong to parts[number]."""
        start = sum(part.stop - part.start for part in self.parts[:number])
        return slice(start, start + self.parts[number].stop - self.parts[number].start)

    @property
    def size(self) -> int:
        """Bytes of all files but the manifest."""
        return sum(entry.size for entry in self.files.values())

    def version(self) -> str:
        """`<UTC time>-<first 8 hex of the manifest's sha256>`."""
        stamp = self.created_at.astimezone(UTC).strftime(STAMP)
        return f"{stamp}-{hashlib.sha256(self.to_bytes()).hexdigest()[:8]}"

    @classmethod
    def read(cls, directory: Path) -> "Manifest":
        """Read `manifest.json`.

        Raises:
            BundleError: it is absent, not valid, or was altered since it was written.
        """
        path = directory / MANIFEST
        try:
            return cls.parse(path.read_bytes(), path)
        except OSError as error:
            raise BundleError(f"{path}: cannot be read ({error.strerror})") from error

    @classmethod
    def parse(cls, raw: bytes, where: Path | str) -> "Manifest":
        """The manifest in the bytes of `manifest.json`, which lies at `where`; raises as `read`."""
        try:
            manifest = cls.model_validate_json(raw)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the whole file"
            raise BundleError(f"{where}: {place}: {first['msg']}") from error
        if manifest.to_bytes() != raw:
            raise BundleError(f"{where}: was altered since it was written")
        return manifest

    def check_version(self, version: str, where: Path | str) -> None:
        """Compare with the name under which the bundle lies.

        Raises:
            BundleError: it is another one's.
        """
        if self.version() != version:
            raise BundleError(
                f"{where}: was altered, or is that of another bundle, {self.version()}"
            )


def made_at(version: str) -> datetime:
    """UTC time at which a bundle was made, as its version says."""
    return datetime.strptime(version.partition("-")[0], STAMP).replace(tzinfo=UTC)


def describe(path: Path) -> FileEntry:
    """Size and checksum of a file as it lies on disk."""
    with path.open("rb") as file:
        return describe_stream(file)


def describe_stream(file: IO[bytes]) -> FileEntry:
    """Size and checksum of an open file."""
    digest = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]
    return FileEntry(size=file.seek(0, os.SEEK_END), sha256=digest.hexdigest())
