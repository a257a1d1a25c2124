"""Plain LightGCN with BPR: the yardstick of `benchmarks.training.fit_epoch`.

As in He et al. 2020 and the public toolboxes: three layers, 64 columns, one uniform negative per
positive, batches of 2,048, Adam with 10⁻³, L₂ of the batch's embeddings with 10⁻⁴, a torch COO
product of the whole normalised adjacency in every step, a dense evaluation after every epoch, early
stopping on valid recall@20. It is written anew here, so that both sides run in one process.
"""

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from bundle.csr import Csr
from training.data.split import Split

LAYERS, DIM, BATCH, LEARNING_RATE, L2, PATIENCE, EVAL_BATCH = 3, 64, 2048, 1e-3, 1e-4, 20, 4096
K = 20


@dataclass
class PlainLightGCN:
    """A fit that runs epoch by epoch.

    Attributes:
        split: train, valid and test.
        seed: of initial vectors, negatives and order.
        seconds: wall time so far, without the evaluation of test.
        cpu: CPU time so far, in seconds, without the evaluation of test.
        epoch: number of finished epochs.
        best_epoch, best_valid, best_seconds, best_cpu: at the best valid recall@20 so far.
        best_test: test recall@20 of that epoch.
    """

    split: Split
    seed: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    epoch: int = 0
    best_epoch: int = 0
    best_valid: float = -1.0
    best_seconds: float = 0.0
    best_cpu: float = 0.0
    best_test: float = 0.0

    def __post_init__(self) -> None:
        clock, cpu = time.perf_counter(), time.process_time()
        train = self.split.train
        self._rng = np.random.default_rng(self.seed)
        generator = torch.Generator().manual_seed(self.seed)
        weight = torch.empty(train.n_rows + train.n_cols, DIM)
        for part in (weight[: train.n_rows], weight[train.n_rows :]):
            torch.nn.init.xavier_uniform_(part, generator=generator)
        self._weight = weight.requires_grad_()
        self._adjacency = _normalised_adjacency(train)
        self._optimiser = torch.optim.Adam([self._weight], LEARNING_RATE)
        user_idx, item_idx = train.pairs()
        self._user_idx, self._item_idx = user_idx.astype(np.int64), item_idx.astype(np.int64)
        self._keys = self._user_idx * train.n_cols + self._item_idx  # ascending: rows are sorted
        self.seconds, self.cpu = time.perf_counter() - clock, time.process_time() - cpu

    @property
    def finished(self) -> bool:
        """True if valid recall@20 has not risen for PATIENCE epochs."""
        return self.epoch - self.best_epoch >= PATIENCE

    def run_epoch(self) -> None:
        """One pass over the train interactions and the evaluation after it."""
        clock, cpu = time.perf_counter(), time.process_time()
        self._train()
        valid = self._recall(self.split.valid)
        self.seconds += time.perf_counter() - clock
        self.cpu += time.process_time() - cpu
        self.epoch += 1
        if valid > self.best_valid:
            self.best_valid, self.best_epoch = valid, self.epoch
            self.best_seconds, self.best_cpu = self.seconds, self.cpu
            self.best_test = self._recall(self.split.test)

    def measured(self) -> dict[str, float]:
        """Attributes for a report."""
        return {
            "epochs": self.epoch,
            "seconds": self.seconds,
            "best_epoch": self.best_epoch,
            "best_seconds": self.best_seconds,
            "best_cpu": self.best_cpu,
            "best_valid": self.best_valid,
            "best_test": self.best_test,
        }

    def _train(self) -> None:
        n_users, order = self.split.train.n_rows, self._rng.permutation(len(self._keys))
        for start in range(0, len(order), BATCH):
            step = order[start : start + BATCH]
            users, items = self._user_idx[step], self._item_idx[step]
            nodes = [
                torch.from_numpy(x)
                for x in (users, n_users + items, n_users + self._negatives(users))
            ]
            propagated = self._propagate()
            user, positive, negative = (propagated[x] for x in nodes)
            loss = -F.logsigmoid((user * positive).sum(1) - (user * negative).sum(1)).mean()
            own = torch.stack([self._weight[x].square().sum() for x in nodes]).sum()
            loss = loss + L2 * own / (2 * len(step))
            self._optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            self._optimiser.step()

    def _propagate(self) -> Tensor:
        """Mean of layers 0 to 3, [U + I, D]."""
        layer = total = self._weight
        for _ in range(LAYERS):
            layer = torch.sparse.mm(self._adjacency, layer)
            total = total + layer
        return total / (LAYERS + 1)

    def _negatives(self, users: NDArray[np.int64]) -> NDArray[np.int64]:
        """Uniform negatives: for each user [B], an item that is not in the user's train part."""
        n_items = self.split.train.n_cols
        drawn = self._rng.integers(n_items, size=len(users))
        while True:
            keys = users * n_items + drawn
            place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            taken = np.flatnonzero(self._keys[place] == keys)
            if not len(taken):
                return drawn
            drawn[taken] = self._rng.integers(n_items, size=len(taken))

    @torch.no_grad()
    def _recall(self, relevant: Csr) -> float:
        """Recall@20 by full ranking, train interactions masked."""
        train = self.split.train
        vectors = self._propagate()
        user_vectors, item_vectors = vectors[: train.n_rows], vectors[train.n_rows :]
        users, recalls = np.flatnonzero(relevant.lengths), []
        for start in range(0, len(users), EVAL_BATCH):
            block = users[start : start + EVAL_BATCH]
            scores = user_vectors[torch.from_numpy(block)] @ item_vectors.T
            rows, cols = train.select(block).pairs()
            scores[torch.from_numpy(rows).long(), torch.from_numpy(cols).long()] = -torch.inf
            top = torch.topk(scores, K, dim=1).indices
            wanted = torch.zeros_like(scores, dtype=torch.bool)
            rows, cols = relevant.select(block).pairs()
            wanted[torch.from_numpy(rows).long(), torch.from_numpy(cols).long()] = True
            recalls.append(wanted.gather(1, top).sum(1) / wanted.sum(1))
        return float(torch.cat(recalls).mean())


def _normalised_adjacency(train: Csr) -> Tensor:
    """Normalised adjacency D^{-½} A D^{-½} of users and items, torch COO [U + I, U + I]."""
    user_idx, item_idx = (torch.from_numpy(idx).long() for idx in train.pairs())
    one, two = user_idx, item_idx + train.n_rows
    indices = torch.stack([torch.cat([one, two]), torch.cat([two, one])])
    degrees = torch.bincount(indices[0], minlength=train.n_rows + train.n_cols).float()
    values = (degrees[indices[0]] * degrees[indices[1]]).rsqrt()
    size = (len(degrees), len(degrees))
    return torch.sparse_coo_tensor(indices, values, size, check_invariants=False).coalesce()
