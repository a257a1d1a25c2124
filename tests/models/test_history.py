"""Users as means of their items."""

import torch

from models.history import History
from tests.models.small_model import DIM, N_ITEMS, N_USERS, interactions


def test_leaving_one_out_is_the_mean_of_the_others() -> None:
    users, items = interactions()
    history = History(users, items, N_USERS, N_ITEMS)
    x = torch.randn(N_ITEMS, DIM)
    found = history.without(history.users(x), x, users, items)
    for row, (user, item) in enumerate(zip(users.tolist(), items.tolist(), strict=True)):
        others = [i for u, i in zip(users.tolist(), items.tolist(), strict=True) if u == user]
        others.remove(item)
        expected = x[others].mean(0) if others else torch.zeros(DIM)
        torch.testing.assert_close(found[row], expected)
