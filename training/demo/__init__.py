"""Synthetic shop with drawn pictures and known preferences, so that answers can be verified."""
