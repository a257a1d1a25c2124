"""Plan of a refresh's encoding: what the blocks of users are made from.

Several processes read it from files that each maps by itself, so that all share one copy in memory.
Shapes: U and I users and items of the live bundle, V and J of the next one.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bundle.csr import Csr
from bundle.format.encoders import UserEncoder
from bundle.format.reader import Bundle
from bundle.onnx_runtime import CPU
from bundle.types import Floats
from training.refresh.encoding.spill import BLOCK_USERS, Spill
from training.refresh.items import NextItems

PLAN = "plan.json"
OF_BUNDLE = ("user_vectors", "seen_indptr", "seen_indices", "seen_weights")
OF_NEXT = ("item_vectors", "row_of", "has_new_vector", "kept", "held_out")


@dataclass(frozen=True)
class EncodingPlan:
    """Inputs of all blocks.

    Attributes:
        bundle: folder of the live bundle.
        user_encoder: that of the live bundle.
        user_vectors: [U, D].
        seen: U × I interactions.
        seen_weights: weights of the interactions.
        item_vectors: [J, D].
        row_of: [I] item_idx in the live bundle → in the next, -1 for removed items.
        has_new_vector: [J] whether an item's vector differs from the live bundle's.
        kept, held_out, events: as in `Spill`; `events` is its folder.
        n_users: V.
        block_users: number of users in a block, fewer in the last.
    """

    bundle: Path
    user_encoder: UserEncoder
    user_vectors: Floats
    seen: Csr
    seen_weights: Floats
    item_vectors: Floats
    row_of: NDArray[np.int32]
    has_new_vector: NDArray[np.bool_]
    kept: NDArray[np.int64]
    held_out: NDArray[np.int64]
    events: Path
    n_users: int
    block_users: int

    @property
    def starts(self) -> range:
        """The first user of each block."""
        return range(0, self.n_users, self.block_users)

    def n_in_block(self, start: int) -> int:
        """Number of users in the block that starts with one."""
        return min(self.block_users, self.n_users - start)

    @classmethod
    def of(cls, bundle: Bundle, items: NextItems, spill: Spill) -> Self:
        """The plan of a refresh of the live bundle."""
        return cls(
            bundle.directory,
            bundle.user_encoder,
            bundle.user_vectors,
            bundle.seen,
            bundle.seen_weights,
            items.vectors,
            items.row_of,
            items.has_new_vector,
            spill.kept,
            spill.held_out,
            spill.folder,
            spill.n_users,
            BLOCK_USERS,
        )

    def write(self) -> None:
        """Write what other processes need into the folder of the events, for `open`."""
        for name in OF_NEXT:
            np.save(self.events / f"{name}.npy", getattr(self, name), allow_pickle=False)
        numbers = {"n_users": self.n_users, "block_users": self.block_users}
        described = json.dumps({"bundle": str(self.bundle), **numbers})
        (self.events / PLAN).write_text(described)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """A plan that was written, with a user encoder on one thread of the CPU.

        The bundle was checked when the plan was made.

        Args:
            folder: that of the events.
        """
        described: dict[str, Any] = json.loads((folder / PLAN).read_text())
        bundle = Path(described["bundle"])

        def mapped(place: Path, name: str) -> NDArray[Any]:
            array: NDArray[Any] = np.load(place / f"{name}.npy", "r", allow_pickle=False)
            return array

        vectors, indptr, indices, weights = (mapped(bundle, name) for name in OF_BUNDLE)
        items, row_of, has_new_vector, kept, held_out = (mapped(folder, name) for name in OF_NEXT)
        return cls(
            bundle,
            UserEncoder(bundle / "user_encoder.onnx", 1, (CPU,)),
            vectors,
            Csr(indptr, indices, len(row_of)),
            weights,
            items,
            row_of,
            has_new_vector,
            kept,
            held_out,
            folder,
            described["n_users"],
            described["block_users"],
        )
