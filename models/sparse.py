"""Differentiable products of a constant sparse matrix with dense matrices."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _Product(torch.autograd.Function):
    """y = A x, with Aᵀ stored by rows for the backward pass.

    `embedding_bag` over rows takes at most a quarter of the time of torch's COO and CSR products on
    the CPU (benchmarks/training/sparse_product.py) and sums in a fixed order.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: "_Rows", transposed: "_Rows") -> Tensor:
        ctx.transposed = transposed
        return rows.times(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return ctx.transposed.times(grads[0].contiguous()), None, None


class _Rows(nn.Module):
    """A sparse matrix in CSR form; its arrays are buffers, so that they move between devices."""

    indptr: Tensor
    indices: Tensor
    values: Tensor

    def __init__(self, rows: Tensor, cols: Tensor, values: Tensor, n_rows: int) -> None:
        super().__init__()
        order = torch.argsort(rows, stable=True)
        indptr = torch.zeros(n_rows + 1, dtype=torch.int64)
        indptr[1:] = torch.cumsum(torch.bincount(rows, minlength=n_rows), 0)
        self.register_buffer("indptr", indptr, persistent=False)
        self.register_buffer("indices", cols[order], persistent=False)
        self.register_buffer("values", values[order], persistent=False)

    def times(self, x: Tensor) -> Tensor:
        return F.embedding_bag(
            self.indices,
            x,
            self.indptr,
            mode="sum",
            per_sample_weights=self.values.to(x.dtype),
            include_last_offset=True,
        )


_product: Callable[[Tensor, _Rows, _Rows], Tensor] = _Product.apply


class SparseMatrix(nn.Module):
    """A constant sparse matrix A [R, C].

    Args:
        rows: [nnz] int64.
        cols: [nnz] int64.
        values: [nnz] float32.
        shape: (R, C).
    """

    def __init__(self, rows: Tensor, cols: Tensor, values: Tensor, shape: tuple[int, int]) -> None:
        super().__init__()
        self.shape = shape
        self._forward = _Rows(rows, cols, values, shape[0])
        self._backward = _Rows(cols, rows, values, shape[1])

    def matmul(self, x: Tensor) -> Tensor:
        """A x: [C, D] → [R, D]."""
        return _product(x, self._forward, self._backward)

    def matmul_transposed(self, x: Tensor) -> Tensor:
        """Aᵀ x: [R, D] → [C, D]."""
        return _product(x, self._backward, self._forward)

    def to_dense(self) -> Tensor:
        """A as [R, C], for tests."""
        dense = torch.zeros(self.shape)
        row_numbers = torch.repeat_interleave(
            torch.arange(self.shape[0]), torch.diff(self._forward.indptr)
        )
        dense.index_put_(
            (row_numbers, self._forward.indices), self._forward.values, accumulate=True
        )
        return dense


def rows(x: Tensor, idx: Tensor) -> Tensor:
    """Rows x[idx]; unlike with indexing, the gradient is summed in a fixed order on the CPU."""
    return F.embedding(idx, x)
