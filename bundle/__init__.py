"""The contract between training and serving: bundle format, store, catalogue, search, events.

The public names below are loaded when they are first used: `import bundle` alone loads neither
FAISS nor ONNX Runtime.

Shapes in all docstrings: U users, I items, D vector width, M modalities, F_m features of
modality m, B batch, H history length, K results.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bundle.catalogue.catalogue import Catalogue
    from bundle.catalogue.overlay import ItemChange, Overlay
    from bundle.content.encoders import load_encoder
    from bundle.csr import Csr
    from bundle.errors import BundleError, DRepMRecError, GateError, InputError, StoreError
    from bundle.events.records import Change, Event
    from bundle.format.encoders import ItemEncoder
    from bundle.format.manifest import Part, Taken, Verdict
    from bundle.format.reader import Bundle
    from bundle.format.writer import BundleContents, EncoderSample
    from bundle.ids import IdMap
    from bundle.search.options import OptionError, RankingOptions, SearchOptions
    from bundle.search.recommender import Recommender
    from bundle.search.topk import TopK
    from bundle.store.store import BundleStore

__all__ = [
    "Bundle",
    "BundleContents",
    "BundleError",
    "BundleStore",
    "Catalogue",
    "Change",
    "Csr",
    "DRepMRecError",
    "EncoderSample",
    "Event",
    "GateError",
    "IdMap",
    "InputError",
    "ItemChange",
    "ItemEncoder",
    "OptionError",
    "Overlay",
    "Part",
    "RankingOptions",
    "Recommender",
    "SearchOptions",
    "StoreError",
    "Taken",
    "TopK",
    "Verdict",
    "load_encoder",
]

_MODULES = {
    "bundle.catalogue.catalogue": ["Catalogue"],
    "bundle.catalogue.overlay": ["ItemChange", "Overlay"],
    "bundle.content.encoders": ["load_encoder"],
    "bundle.csr": ["Csr"],
    "bundle.errors": ["BundleError", "DRepMRecError", "GateError", "InputError", "StoreError"],
    "bundle.events.records": ["Event", "Change"],
    "bundle.format.encoders": ["ItemEncoder"],
    "bundle.format.manifest": ["Part", "Taken", "Verdict"],
    "bundle.format.reader": ["Bundle"],
    "bundle.format.writer": ["BundleContents", "EncoderSample"],
    "bundle.ids": ["IdMap"],
    "bundle.search.options": ["OptionError", "RankingOptions", "SearchOptions"],
    "bundle.search.recommender": ["Recommender"],
    "bundle.search.topk": ["TopK"],
    "bundle.store.store": ["BundleStore"],
}
"""The imports above, by module; a test compares them."""


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    for module, names in _MODULES.items():
        if name in names:
            found = getattr(import_module(module), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
