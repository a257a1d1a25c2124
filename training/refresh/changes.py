"""Changes recorded by the service since the live bundle was built: item changes and erasures."""

from dataclasses import dataclass, field

from bundle.catalogue.overlay import ItemChange
from bundle.errors import InputError
from bundle.events.records import Change, unpack_change
from bundle.format.reader import Bundle
from training.refresh.event_source import EventSource


@dataclass(frozen=True)
class ServiceChanges:
    """Changes recorded by the service since the live bundle was built.

    Attributes:
        number: number of the newest change.
        changes: item changes.
        erased: number of the erasure of each user erased since then.
        ever_erased: users that were ever erased.
        deleted: items whose newest change is a deletion.
    """

    number: int
    changes: list[ItemChange] = field(default_factory=list)
    erased: dict[str, int] = field(default_factory=dict)
    ever_erased: set[str] = field(default_factory=set)
    deleted: frozenset[str] = frozenset()


def read_service_changes(
    sources: list[EventSource], live: Bundle, *, all_items: bool
) -> ServiceChanges:
    """Read the changes from the service's log.

    Args:
        sources: event sources; at most one is a log of the service.
        live: the live bundle, whose manifest names the newest change that it contains.
        all_items: also determine `deleted`, which requires reading all changes.

    Raises:
        InputError: several sources are logs of a service, or a change cannot be read.
    """
    logs = [source for source in sources if source.cleaned]
    if len(logs) > 1:
        raise InputError("--events: at most one source may be the log of a service")
    taken = live.manifest.taken.notes
    if not logs:
        return ServiceChanges(taken)
    log = logs[0]
    # Events are read after changes, so that the log has no events before a known erasure.
    ever = log.erased()
    found = log.changes(0 if all_items else taken)
    ever |= {change.name: change.number for change in found if change.kind == "user"}
    new = [change for change in found if change.number > taken]
    changes = {change.name: _change(change) for change in found if change.kind == "item"}
    return ServiceChanges(
        number=max([taken, *(change.number for change in new)]),
        changes=[changes[change.name] for change in new if change.kind == "item"],
        erased={user: number for user, number in ever.items() if number > taken},
        ever_erased=set(ever),
        deleted=frozenset(name for name, change in changes.items() if change.deleted),
    )


def _change(change: Change) -> ItemChange:
    try:
        return unpack_change(change.name, change.body)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"change {change.number} of item {change.name}: cannot be read") from error
