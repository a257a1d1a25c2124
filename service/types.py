"""Literal types that responses, metrics and the engine share."""

from typing import Literal

AnswerSource = Literal["known_user", "folded_in", "session", "popular"]
"""Origin of the recommended items."""
FallbackReason = Literal["unknown_user", "no_interactions", "unknown_items"]
"""Reason for popular items in place of personal ones."""
CacheResult = Literal["hit", "miss"]
