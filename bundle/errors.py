"""Errors that a caller can act on.

DRepMRecError
├── InputError    wrong data or configuration; the message names file, column and row
├── BundleError   an incomplete, altered or inconsistent bundle; the message names the file
├── StoreError    a store that cannot be used or is locked, or a missing bundle
└── GateError     a candidate that is worse than the live bundle, and was not published
"""


class DRepMRecError(Exception):
    """Base class of all errors that this project raises on purpose."""

    exit_code = 1
    """Exit code of a command that ends with this error."""


class InputError(DRepMRecError):
    """Wrong data or configuration."""

    exit_code = 2


class BundleError(DRepMRecError):
    """An incomplete, altered or inconsistent bundle."""


class StoreError(DRepMRecError):
    """A store that cannot be used or that another process has locked, or a missing bundle."""


class GateError(DRepMRecError):
    """A candidate that is worse than the live bundle, and was not published."""

    exit_code = 3
