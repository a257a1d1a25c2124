"""DRepMRec (arXiv 2404.11119) in PyTorch: lines, alignment, losses, graphs.

Shapes in all docstrings: U users, I items, D width of one line's vectors, M modalities, F_m
features of modality m, B batch size, N negatives, k neighbours, L layers.
"""
