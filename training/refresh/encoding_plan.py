"""Plan of a refresh's encoding: what the blocks of users are made from.

It lies in files that each process maps by itself, so that all share one copy in memory. Shapes: U
and I users and items of the live bundle, V and J of the next one.
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
from training.refresh.items import NextItems
from training.refresh.user_blocks import BLOCK_USERS, Spill

PLAN = "plan.json"
OF_BUNDLE = ("user_vectors", "seen_indptr", "seen_indices", "seen_weights")
OF_NEXT = ("item_vectors", "row_of", "has_new_vector", "kept", "held_out")


@dataclass(frozen=True)
class EncodingPlan:
    """Inputs of all blocks.

    Attributes:
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
    def write(cls, folder: Path, bundle: Bundle, items: NextItems, spill: Spill) -> Self:
        """Write the plan of a refresh, and open it with the bundle's own encoder.

        Args:
            folder: for the files.
            bundle: the live bundle.
            items: items of the next bundle.
            spill: new events.
        """
        arrays = {
            "item_vectors": items.vectors,
            "row_of": items.row_of,
            "has_new_vector": items.has_new_vector,
            "kept": spill.kept,
            "held_out": spill.held_out,
        }
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        described = {
            "bundle": str(bundle.directory),
            "events": str(spill.folder),
            "n_users": spill.n_users,
            "block_users": BLOCK_USERS,
        }
        (folder / PLAN).write_text(json.dumps(described))
        return cls.open(folder, bundle.user_encoder)

    @classmethod
    def open(cls, folder: Path, user_encoder: UserEncoder | None = None) -> Self:
        """Map the files of a plan.

        Args:
            folder: with the files.
            user_encoder: of the live bundle; by default it is opened, on one thread of the CPU. The
                bundle was checked when the plan was made.
        """
        described: dict[str, Any] = json.loads((folder / PLAN).read_text())
        bundle = Path(described["bundle"])

        def mapped(place: Path, name: str) -> NDArray[Any]:
            array: NDArray[Any] = np.load(place / f"{name}.npy", "r", allow_pickle=False)
            return array

        vectors, indptr, indices, weights = (mapped(bundle, name) for name in OF_BUNDLE)
        items, row_of, has_new_vector, kept, held_out = (mapped(folder, name) for name in OF_NEXT)
        return cls(
            user_encoder or UserEncoder(bundle / "user_encoder.onnx", 1, (CPU,)),
            vectors,
            Csr(indptr, indices, len(row_of)),
            weights,
            items,
            row_of,
            has_new_vector,
            kept,
            held_out,
            Path(described["events"]),
            described["n_users"],
            described["block_users"],
        )
