"""A synthetic shop with drawn pictures and planted tastes, so that the right answer is known."""
