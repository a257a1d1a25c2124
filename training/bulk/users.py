"""The users that bulk recommendations are made for, from a table file."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from bundle.errors import InputError
from training.data.readers.columns import ids
from training.data.readers.table_file import TABLE_SUFFIXES, TableFile

USER_ID = "user_id"


def read_users(path: Path) -> pa.StringArray:
    """The ids of a Parquet, CSV or JSON lines file with a column `user_id`, in its order.

    Raises:
        InputError: the file cannot be read, has no such column or no row, or an id is empty or
            occurs twice; the message names the file and the place.
    """
    if path.suffix not in TABLE_SUFFIXES:
        known = ", ".join(TABLE_SUFFIXES)
        raise InputError(f"{path}: not a table of users; the name must end in one of {known}")
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    source = TableFile(path)
    if USER_ID not in source.header():
        raise source.missing(USER_ID)
    table = source.read({USER_ID: pa.string()}, only=True)
    found = ids(source, table, USER_ID).combine_chunks()
    if len(pc.unique(found)) < len(found):
        first: dict[str, int] = {}
        for row, user_id in enumerate(found.to_pylist()):
            if first.setdefault(user_id, row) != row:
                raise source.error(f"{user_id!r} occurs twice", row, USER_ID)
    return found
