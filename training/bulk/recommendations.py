"""Bulk recommendations: the top k of many users as Parquet files, block by block.

They are what `GET /recommend` answers for users without newer events, by the same search code. The
blocks of a run are the same whoever makes them: processes share them by their numbers, and a run
that was interrupted makes those that are missing.
"""

import hashlib
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from bundle.errors import InputError
from bundle.format.reader import Bundle
from bundle.search.options import RankingOptions, search_options
from bundle.search.recommender import Recommender
from bundle.search.topk import TopK
from bundle.store.backend import Storage
from bundle.types import NO_ITEMS, Rows

BLOCK_USERS = 16_384
"""Users per file: 1.6 million rows with 100 items each, about 60 MB in memory."""
TOGETHER = 256
"""Users per search call."""
FOLDER = "blocks"
"""Folder of the files."""
RUN = "run.json"
"""File that says what the blocks beside it are."""
KNOWN, POPULAR = "known_user", "popular"
"""Values of `source`, as in the API's responses."""
SCHEMA = pa.schema(
    {
        "user_id": pa.string(),
        "item_id": pa.string(),
        "score": pa.float32(),
        "rank": pa.int32(),
        "source": pa.dictionary(pa.int32(), pa.string()),
        "bundle_version": pa.dictionary(pa.int32(), pa.string()),
    }
)


@dataclass(frozen=True)
class Shard:
    """A share of the blocks: those whose number leaves the remainder `index` by `count`."""

    index: int
    count: int


@dataclass(frozen=True)
class Made:
    """Outcome of a run.

    Attributes:
        users: number of users whose recommendations were made now.
        popular: number of those who got popular items, as they have no vector.
        present: number of blocks in the folder.
        blocks: number of blocks in all.
    """

    users: int
    popular: int
    present: int
    blocks: int


class BulkRecommender:
    """Bulk recommendations from one bundle.

    Args:
        bundle: the bundle.
        users: ids of the users; None for all of the bundle.
        options: options of each ranking.
        k: items for each user.
        threads: number of threads.

    Raises:
        OptionError: an option does not fit the bundle; names the option.
    """

    def __init__(
        self,
        bundle: Bundle,
        users: pa.StringArray | None,
        options: RankingOptions,
        k: int,
        threads: int,
    ) -> None:
        self._bundle = bundle
        self._users = bundle.users.array if users is None else users
        self._all = users is None
        self._recommender = Recommender(bundle)
        self._exclude_seen = options.exclude_seen
        self._options = search_options(self._recommender.catalogue, options, k)
        # FAISS uses all cores for a batch by itself.
        self._threads = threads if bundle.manifest.index.kind == "flat" else 1
        digest = hashlib.sha256()
        for chunk in self._users.to_pylist() if users is not None else []:
            digest.update(chunk.encode() + b"\0")
        self._run = {
            "bundle_version": bundle.version,
            "k": k,
            "options": options.model_dump(mode="json"),
            "users": "all" if users is None else digest.hexdigest(),
            "n_users": len(self._users),
            "block_users": BLOCK_USERS,
        }

    def write(self, out: Storage, shard: Shard) -> Made:
        """Make a shard's missing blocks.

        Args:
            out: a folder or a prefix of an object store.
            shard: the share of the blocks.

        Raises:
            InputError: the blocks there are of another run.
            StoreError: the folder cannot be read or written.
        """
        self._claim(out)
        n_blocks = -(-len(self._users) // BLOCK_USERS)
        present = set(out.names(FOLDER))
        mine = [n for n in range(n_blocks) if n % shard.count == shard.index]
        missing = [n for n in mine if _name(n) not in present]
        n_users = n_popular = 0
        with (
            tempfile.TemporaryDirectory() as folder,
            ThreadPoolExecutor(self._threads) as pool,
            tqdm(total=len(self._users), unit="user", disable=None) as progress,
        ):
            progress.update(sum(len(self._slice(n)) for n in mine if _name(n) in present))
            for number in missing:
                ids = self._slice(number)
                table, popular = self._table(number, ids, pool)
                path = Path(folder) / "block.parquet"
                pq.write_table(table, path)
                out.put_file(path, _name(number))
                n_users, n_popular = n_users + len(ids), n_popular + popular
                progress.update(len(ids))
        return Made(n_users, n_popular, len(present | {_name(n) for n in missing}), n_blocks)

    def _claim(self, out: Storage) -> None:
        """Write what this run is, or compare with what the folder's run is."""
        content = out.read(RUN)
        if content is None:
            if out.names(FOLDER):
                raise InputError(f"{out.root}: has a folder {FOLDER} without {RUN}")
            out.write(RUN, json.dumps(self._run, indent=1).encode())
            return
        try:
            there: Any = json.loads(content)
            other = [key for key, value in self._run.items() if there[key] != value]
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{out.root}: {RUN} is not that of bulk recommendations") from None
        if other:
            key = other[0]
            raise InputError(
                f"{out.root}: has recommendations of another run ({key}: {there[key]}, now "
                f"{self._run[key]}); choose another folder"
            )

    def _slice(self, number: int) -> pa.StringArray:
        return self._users.slice(number * BLOCK_USERS, BLOCK_USERS)

    def _table(
        self, number: int, ids: pa.StringArray, pool: ThreadPoolExecutor
    ) -> tuple[pa.Table, int]:
        """The rows of a block, and the number of its users who get popular items."""
        start = number * BLOCK_USERS
        rows = (
            np.arange(start, start + len(ids), dtype=np.int32)
            if self._all
            else self._bundle.users.rows(ids)
        )
        parts = [rows[n : n + TOGETHER] for n in range(0, len(rows), TOGETHER)]
        tops: list[TopK] = []
        known: list[bool] = []
        for found, has_vector in pool.map(self._ranked, parts):
            tops += found
            known += has_vector
        lengths = np.array([len(top.item_idx) for top in tops], np.int64)
        item_idx = np.concatenate([top.item_idx for top in tops])
        row_of = np.repeat(np.arange(len(ids)), lengths)
        places = np.arange(len(row_of)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        popular = ~np.array(known, np.bool_)
        sources = pa.DictionaryArray.from_arrays(popular[row_of].astype(np.int32), [KNOWN, POPULAR])
        version = pa.DictionaryArray.from_arrays(
            np.zeros(len(row_of), np.int32), [self._bundle.version]
        )
        columns = [
            ids.take(pa.array(row_of)),
            self._bundle.items.array.take(pa.array(item_idx)),
            np.concatenate([top.scores for top in tops]).astype(np.float32),
            (places + 1).astype(np.int32),
            sources,
            version,
        ]
        return pa.table(columns, schema=SCHEMA), int(popular.sum())

    def _ranked(self, rows: Rows) -> tuple[list[TopK], list[bool]]:
        """Rankings of some users, and whether each has a vector."""
        bundle = self._bundle
        vectors = np.array(bundle.user_vectors[np.maximum(rows, 0)])
        vectors[rows < 0] = 0
        excluded = [
            bundle.seen.row(row) if row >= 0 and self._exclude_seen else NO_ITEMS
            for row in rows.tolist()
        ]
        found = self._recommender.run_each(vectors, self._options, excluded)
        return found, [bool(vector.any()) for vector in vectors]


def _name(number: int) -> str:
    return f"{FOLDER}/{number:06d}.parquet"
