"""Errors that a caller can act on.

DRepMRecError
├── InputError    data or configuration given by the user is wrong; names file, column and row
├── BundleError   a bundle is incomplete, altered or inconsistent; names the file
├── StoreError    a store cannot be used, has no such bundle, or somebody else is publishing into it
└── GateError     a candidate is worse than the live bundle and was not published
"""


class DRepMRecError(Exception):
    """Base of every error that this project raises on purpose."""

    exit_code = 1


class InputError(DRepMRecError):
    """Data or configuration given by the user is wrong."""

    exit_code = 2


class BundleError(DRepMRecError):
    """A bundle is incomplete, altered or inconsistent."""


class StoreError(DRepMRecError):
    """A store cannot be used, has no such bundle, or somebody else is publishing into it."""


class GateError(DRepMRecError):
    """A candidate is worse than the live bundle and was not published."""

    exit_code = 3
