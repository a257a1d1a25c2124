"""Baseline models, implemented from the equations of their papers.

Each is a `BaselineModel`, which the training loop fits exactly like DRepMRec. Vectors have
config.dim columns in all. Shapes are those of `models`.
"""
