"""Errors of training, in addition to those of the bundle."""

from bundle.errors import DRepMRecError


class SourceError(DRepMRecError):
    """An event source cannot be read."""
