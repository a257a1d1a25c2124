"""The contract between offline and online: ids, bundle format, store, index, scoring.

Shapes used in every docstring: U users, I items, D vector width, M modalities, F_m features of
modality m, B batch, H history length, K results.
"""
