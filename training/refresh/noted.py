"""What the service noted since the live bundle was made: changed items and erased users."""

from dataclasses import dataclass, field

from bundle.errors import InputError
from bundle.events import Note, unpack_change
from bundle.loading import Bundle
from bundle.overlay import ItemChange
from training.refresh.sources import EventSource


@dataclass(frozen=True)
class Noted:
    """What the service noted since the live bundle was made.

    Attributes:
        number: of the newest note.
        changes: of items.
        erased: number of the note of each user who was erased since.
        ever_erased: users.
        deleted: items whose newest note says so.
    """

    number: int
    changes: list[ItemChange] = field(default_factory=list)
    erased: dict[str, int] = field(default_factory=dict)
    ever_erased: set[str] = field(default_factory=set)
    deleted: frozenset[str] = frozenset()


def read_notes(sources: list[EventSource], live: Bundle, *, all_items: bool) -> Noted:
    """Read the notes of the one source that has some.

    Args:
        sources: of events.
        live: the bundle whose notes are known.
        all_items: whether `deleted` is wanted, for which all notes must be read.

    Raises:
        InputError: several sources have notes, or one cannot be read.
    """
    logs = [source for source in sources if source.cleaned]
    if len(logs) > 1:
        raise InputError("--events: one service's log at most")
    taken = live.manifest.taken.notes
    if not logs:
        return Noted(taken)
    log = logs[0]
    # The log is read after the notes: who was erased by then has no earlier events in it.
    ever = log.erased()
    notes = log.notes(0 if all_items else taken)
    ever |= {note.name: note.number for note in notes if note.kind == "user"}
    new = [note for note in notes if note.number > taken]
    changes = {note.name: _change(note) for note in notes if note.kind == "item"}
    return Noted(
        number=max([taken, *(note.number for note in new)]),
        changes=[changes[note.name] for note in new if note.kind == "item"],
        erased={user: number for user, number in ever.items() if number > taken},
        ever_erased=set(ever),
        deleted=frozenset(name for name, change in changes.items() if change.deleted),
    )


def _change(note: Note) -> ItemChange:
    try:
        return unpack_change(note.name, note.body)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"note {note.number} of item {note.name}: cannot be read") from error
