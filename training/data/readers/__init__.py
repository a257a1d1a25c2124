"""Readers of data files: validated columns and arrays; every error names file, place and column."""
