"""Benchmarks: one script for each published number."""
