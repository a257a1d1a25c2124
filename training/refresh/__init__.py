"""Refresh: builds the next bundle from the live one and the service's events and changes."""
