"""Cost of a request, known before any work.

A point is about a microsecond of one core with some thousand items of 129 columns:

| | points |
|---|---|
| each user | 100 |
| each of a user's filter, weights and boosts | 100 |
| each result | 2 |
| with `diversity` | 20 more |
| with `explain` | 10 more |
| each character of filter and boosts, once | 3 |

Requests for one user stay far below MAX_COST, whatever they ask for; a batch is refused above it.
"""

from bundle.search.options import SearchOptions
from service.schemas.recommend import SearchQuery

MAX_COST = 300_000
"""Maximum cost of a request: a third of a second of one core."""
INLINE = 1_000
"""Maximum cost of a piece of work on the event loop; what takes longer is done in a thread."""
SLICE = 5_000
"""Cost of a batch's users whose searches are done before other requests have their turn."""
COST_OF_ONE = 200
"""Cost that counts as one request in a rate limit; a plain one costs 140."""
CHARACTER = 3
"""Cost of a character of a filter."""
_SEARCH, _RESULT, _DIVERSE, _EXPLAINED = 100, 2, 20, 10
_REASON = 50
"""Items of a history that cost a point for each explained result."""


def user_cost(query: SearchQuery, k: int | None = None) -> int:
    """Cost of the search for one user.

    Args:
        query: the parameters.
        k: number of results, if not the query's.
    """
    options = len(query.boost) + bool(query.weights) + (query.filter is not None)
    return _points(k or query.k, options, bool(query.diversity), query.explain)


def text_cost(query: SearchQuery) -> int:
    """Cost of reading filter and boosts, once for all users."""
    return CHARACTER * (len(query.filter or "") + sum(map(len, query.boost)))


def users_at_once(query: SearchQuery) -> int:
    """Number of users of a batch that are answered before other requests have their turn."""
    return SLICE // min(user_cost(query), INLINE)


def search_cost(options: SearchOptions) -> int:
    """Cost of a search with resolved options."""
    count = len(options.boosts) + (options.weights is not None) + (options.allowed is not None)
    return _points(options.k, count, bool(options.diversity), False)


def explanation_cost(results: int, history: int) -> int:
    """Cost of explaining some results by a history of some items."""
    return results * (_EXPLAINED + history // _REASON)


def _points(k: int, options: int, diverse: bool, explain: bool) -> int:
    each = _RESULT + _DIVERSE * diverse + _EXPLAINED * explain
    return _SEARCH * (1 + options) + k * each
