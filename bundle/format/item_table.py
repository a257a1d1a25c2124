"""The item table as every reader of it sees it: few types, whatever a file has.

Dictionaries, run ends, views and the size variants of text and lists say how values are stored, not
what they are; filters and changes of items need not know them.
"""

import pyarrow as pa
import pyarrow.compute as pc


def is_list(kind: pa.DataType) -> bool:
    """True if the type is a list, of any size variant."""
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def plain(kind: pa.DataType) -> pa.DataType:
    """The type without dictionary, extension, size or view variants, which differ between files."""
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return plain(kind.storage_type)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return plain(kind.value_type)
    if types.is_large_string(kind) or types.is_string_view(kind) or types.is_null(kind):
        return pa.string()
    if types.is_large_binary(kind) or types.is_binary_view(kind):
        return pa.binary()
    if types.is_float16(kind):
        return pa.float32()  # exact; Arrow does not compare narrower numbers
    if types.is_decimal(kind) and kind.bit_width < 128:
        return pa.decimal128(kind.precision, kind.scale)
    if is_list(kind):
        return pa.list_(plain(kind.value_type))
    return kind


def plain_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The same values in the plain type."""
    if pa.types.is_run_end_encoded(column.type):
        column = pc.run_end_decode(column)
    kind = plain(column.type)
    return column if column.type == kind else column.cast(kind)


def plain_table(table: pa.Table) -> pa.Table:
    """The same columns in their plain types; columns that have them are not copied."""
    return pa.table([plain_column(column) for column in table.columns], names=table.column_names)
