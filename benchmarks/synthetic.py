"""Data of TikTok's shape at any size: a few heavy users hold most pairs, features are clustered."""

import numpy as np
from numpy.typing import NDArray

from bundle.csr import Csr
from training.dataset import Modality
from training.split import Split

N_USERS, N_ITEMS, N_VALID, N_TEST = 9_308, 6_710, 3_051, 6_130
HEAVY, HEAVY_MEAN = 103, 408
"""103 of the users hold 71 % of TikTok's train pairs; the longest history is 603."""
LIGHT_LENGTHS = (1, 2, 3, 4)
LIGHT_SHARES = (0.381, 0.334, 0.281, 0.004)
ITEMS_OF_A_CLUSTER = 20
"""With larger ones popularity and clusters tell nearly all, and the first epochs are the best."""
NOISE = 2.0
"""Of the features, in units of the clusters' directions: many neighbours are strays."""
POPULARITY = 0.65
"""Items of rank r are drawn in proportion to r^-0.65: the first thousand get 45 % of the pairs."""


def synthetic_split(
    size: float, rng: np.random.Generator, width: int = 128
) -> tuple[Split, dict[str, Modality]]:
    """A split and two modalities, `size` times as many users, items and pairs as TikTok has.

    A light user takes items of one cluster three times out of five, a heavy one any; features
    [I, width] are the cluster's direction and noise. A pair that is drawn twice counts once, so
    there are a few pairs less than `size` says.

    Args:
        size: 1 for TikTok's size.
        rng: the only source of chance.
        width: F_m of both modalities.
    """
    n_users, n_items = round(N_USERS * size), round(N_ITEMS * size)
    n_heavy = max(round(HEAVY * size), 1)
    lengths = np.concatenate(
        [
            np.clip(rng.normal(HEAVY_MEAN, 90, n_heavy), 100, 603).astype(np.int64),
            rng.choice(LIGHT_LENGTHS, n_users - n_heavy, p=LIGHT_SHARES),
        ]
    )
    n_clusters = max(n_items // ITEMS_OF_A_CLUSTER, 1)
    clusters = rng.integers(n_clusters, size=n_items)
    tastes = rng.integers(n_clusters, size=n_users)
    popularity = rng.permutation(np.arange(1, n_items + 1) ** -POPULARITY)
    draw = _Items(clusters, popularity, n_clusters, rng)

    def pairs(users: NDArray[np.int64]) -> Csr:
        faithful = (users >= n_heavy) & (rng.random(len(users)) < 0.6)
        items = np.where(faithful, draw.of_cluster(tastes[users]), draw.of_all(len(users)))
        return Csr.from_pairs(users, items, n_users, n_items)

    train = pairs(np.repeat(np.arange(n_users), lengths))
    valid, test = (
        _without(pairs(rng.choice(n_users, round(n * size), replace=False)), train)
        for n in (N_VALID, N_TEST)
    )
    modalities = {}
    for name in ("audio", "image"):
        centres = rng.standard_normal((n_clusters, width), np.float32)
        features = centres[clusters] + NOISE * rng.standard_normal((n_items, width), np.float32)
        modalities[name] = Modality(features, np.ones(n_items, np.bool_))
    return Split(train, valid, test, how=f"synthetic, {size:g} × TikTok"), modalities


class _Items:
    """Draws items by popularity, of the whole catalogue or of one cluster."""

    def __init__(
        self,
        clusters: NDArray[np.int64],
        popularity: NDArray[np.float64],
        n_clusters: int,
        rng: np.random.Generator,
    ) -> None:
        self._rng = rng
        self._order = np.argsort(clusters, kind="stable")
        # One cumulative sum over all clusters: a cluster is an interval of it.
        self._cumulative = np.concatenate([[0.0], np.cumsum(popularity[self._order])])
        ends = np.cumsum(np.bincount(clusters, minlength=n_clusters))
        self._bounds = self._cumulative[np.concatenate([[0], ends])]

    def of_cluster(self, clusters: NDArray[np.int64]) -> NDArray[np.int64]:
        """An item of each cluster [n]; of the next one where a cluster is empty."""
        return self._at(self._rng.uniform(self._bounds[clusters], self._bounds[clusters + 1]))

    def of_all(self, n: int) -> NDArray[np.int64]:
        """N items."""
        return self._at(self._rng.uniform(0, self._cumulative[-1], n))

    def _at(self, place: NDArray[np.float64]) -> NDArray[np.int64]:
        found = np.searchsorted(self._cumulative, place, side="right") - 1
        return np.asarray(self._order[np.minimum(found, len(self._order) - 1)])


def _without(pairs: Csr, others: Csr) -> Csr:
    """The pairs that are not among the others."""
    user_idx, item_idx = (x.astype(np.int64) for x in pairs.pairs())
    taken_users, taken_items = (x.astype(np.int64) for x in others.pairs())
    keys, taken = user_idx * pairs.n_cols + item_idx, taken_users * pairs.n_cols + taken_items
    keep = ~np.isin(keys, taken)
    return Csr.from_pairs(user_idx[keep], item_idx[keep], pairs.n_rows, pairs.n_cols)
