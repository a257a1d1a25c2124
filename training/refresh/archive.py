"""Event archive: numbered, immutable Parquet files in the store.

```
STORE/events/00000001.parquet
```
The metadata of each part store how far the sources had been read. Parts are written atomically, so
each event is in exactly one part, even after a crash. A bundle names the newest part that it
contains, so that the pointer to the live bundle also defines which events count. If an archive was
lost, the next one continues with the following number, which its parts record as their first.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bundle.errors import StoreError
from bundle.store.backend import Storage
from bundle.store.local import LocalStorage
from training.refresh.event_source import EventSource, Positions

FOLDER = "events"
METADATA = b"drepmrec"
ROWS = 65_536
"""Events per batch of a read; bounds memory."""
SCHEMA = pa.schema(
    {
        "user_id": pa.string(),
        "item_id": pa.string(),
        "type": pa.string(),
        "timestamp": pa.float64(),
        "weight": pa.float64(),
        "arm": pa.string(),
    }
)


@dataclass(frozen=True)
class ArchivePart:
    """One file of the archive.

    Attributes:
        number: number of the part.
        place: storage that holds it.
        rows: number of events.
        notes: number of the newest change when the events were read. Events of a user whose erasure
            has a lower or equal number came after that erasure.
        made_at: time of writing, in seconds since 1970.
        positions: how far the sources had been read, by place.
        first: number of the first part of this archive.
    """

    number: int
    place: Storage
    rows: int
    notes: int
    made_at: float
    positions: Positions
    first: int = 1


class Archive:
    """The event archive of a store.

    Args:
        storage: storage of the store.
        scratch: local folder for new parts, which then do not get into the store.
    """

    def __init__(self, storage: Storage, scratch: Path | None = None) -> None:
        self._places = [storage] if scratch is None else [storage, LocalStorage(scratch)]

    def parts(self) -> list[ArchivePart]:
        """All parts in order of their numbers.

        Raises:
            StoreError: a part cannot be read, or one is missing in between.
        """
        found = [
            _describe(place, name)
            for place in self._places
            for name in place.names(FOLDER)
            if name.endswith(".parquet")
        ]
        for expected, part in enumerate(found, found[-1].first if found else 1):
            if part.number != expected:
                raise StoreError(f"{self._places[0].root}/{FOLDER}: part {expected} is missing")
        return found

    def positions(self) -> Positions:
        """Read positions of the sources after the newest part."""
        return {
            place: position for part in self.parts() for place, position in part.positions.items()
        }

    def take_in(self, sources: list[EventSource], notes: int, refused: set[str], taken: int) -> int:
        """Write new events into a new part, unless there are none.

        Args:
            sources: event sources, read in this order.
            notes: number of the newest change; read before the events.
            refused: users whose events are skipped in sources without erasure.
            taken: number of the newest part in the live bundle.

        Returns:
            The number of new events.

        Raises:
            StoreError: parts that the live bundle contains are missing.
        """
        parts = self.parts()
        first, number = (parts[-1].first, parts[-1].number + 1) if parts else (taken + 1, taken + 1)
        if number <= taken:
            raise StoreError(
                f"{self._places[0].root}/{FOLDER}: part {number} is missing; the live bundle"
                f" contains the parts up to {taken}"
            )
        before = self.positions()
        after: dict[str, str] = {}
        with tempfile.TemporaryDirectory() as directory:
            new = Path(directory) / "part.parquet"
            count = 0
            with pq.ParquetWriter(new, SCHEMA, compression="zstd") as writer:
                for source in sources:
                    for page in source.read(before):
                        after.update(page.positions)
                        rows = page.events
                        if not source.cleaned:
                            rows = [event for event in rows if event.user_id not in refused]
                        columns = [[getattr(e, name) for e in rows] for name in SCHEMA.names]
                        writer.write_table(pa.table(columns, SCHEMA))
                        count += len(rows)
                _label(writer, notes, after, datetime.now(UTC).timestamp(), first)
            if after:
                self._put(new, number)
        return count

    def read(self, part: ArchivePart, erased: Mapping[str, int]) -> Iterator[pa.RecordBatch]:
        """Read the events of a part in order, without events before their user's erasure.

        Args:
            part: the part.
            erased: number of the erasure of each erased user.
        """
        later = [user for user, number in erased.items() if number > part.notes]
        gone = pa.array(later, pa.string())
        with part.place.open(_name(part.number)) as file:
            for batch in pq.ParquetFile(file).iter_batches(ROWS):
                mine = pc.is_in(batch["user_id"], value_set=gone)
                yield batch.filter(pc.invert(mine)) if len(gone) else batch

    def forget(self, erased: Mapping[str, int]) -> None:
        """Rewrite the parts with events before their user's erasure, without these events."""
        for part in self.parts():
            if all(number <= part.notes for number in erased.values()):
                continue
            kept = sum(batch.num_rows for batch in self.read(part, erased))
            if kept == part.rows:
                continue
            with tempfile.TemporaryDirectory() as directory:
                new = Path(directory) / "part.parquet"
                with pq.ParquetWriter(new, SCHEMA, compression="zstd") as writer:
                    for batch in self.read(part, erased):
                        writer.write_batch(batch)
                    _label(writer, part.notes, part.positions, part.made_at, part.first)
                self._put(new, part.number)

    def _put(self, new: Path, number: int) -> None:
        self._places[-1].put_file(new, _name(number))


def _name(number: int) -> str:
    return f"{FOLDER}/{number:08d}.parquet"


def _label(
    writer: pq.ParquetWriter, notes: int, positions: Positions, made_at: float, first: int
) -> None:
    label = {"notes": notes, "made_at": made_at, "positions": dict(positions), "first": first}
    writer.add_key_value_metadata({METADATA: json.dumps(label).encode()})


def _describe(place: Storage, name: str) -> ArchivePart:
    try:
        with place.open(name) as file:
            metadata = pq.read_metadata(file)
            label = json.loads(metadata.metadata[METADATA])
        number = int(Path(name).stem)
        return ArchivePart(number=number, place=place, rows=metadata.num_rows, **label)
    except (ValueError, KeyError, TypeError, pa.ArrowException) as error:
        where = f"{place.root}/{name}"
        raise StoreError(f"{where}: is not a part of an event archive ({error})") from error
