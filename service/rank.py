"""From a user and what is wanted to items: the one way of all endpoints that take users."""

from bundle.overlay import NO_ITEMS
from bundle.topk import TopK
from service.queries import UserQuery
from service.read_wishes import read_wishes
from service.serving import Serving
from service.tastes import Taste
from service.wishes import Wishes


async def rank(
    serving: Serving, user_id: str, query: UserQuery, k: int | None = None
) -> tuple[Taste, Wishes, TopK]:
    """What is known of a user, what is wanted, and the best items.

    Args:
        serving: what to answer from.
        user_id: any id.
        query: the request's parameters.
        k: results, if not as many as the query says.

    Raises:
        InvalidParameterError: a parameter does not fit the bundle.
    """
    taste = await serving.tastes.get(user_id, serving.catalogue)
    seen = taste.history if query.exclude_seen else NO_ITEMS
    wishes = await read_wishes(serving, query, seen, k)
    if taste.vector is not None:
        return taste, wishes, await serving.search(taste.vector, wishes)
    assert taste.reason is not None
    serving.metrics.fallbacks[taste.reason].inc()
    return taste, wishes, serving.recommender.popular(wishes.k, wishes.excluded, wishes.allowed)
