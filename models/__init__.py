"""DRepMRec (arXiv 2404.11119) in torch: lines, alignment, losses, graphs.

Shapes used in every docstring: U users, I items, D width of one line's vectors, M modalities,
F_m features of modality m, B batch, N negatives, k neighbours, L layers.
"""
