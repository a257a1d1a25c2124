"""Stores of bundles. `BundleStore` is loaded on first use: URLs and errors need no NumPy."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bundle.store.store import BundleStore

__all__ = ["BundleStore"]


def __getattr__(name: str) -> Any:
    """Load the class on first use (PEP 562)."""
    if name != "BundleStore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from bundle.store.store import BundleStore

    return BundleStore
