"""What a refresh raises beside the bundle's errors."""

from bundle.errors import DRepMRecError


class SourceError(DRepMRecError):
    """A log of events cannot be read."""
