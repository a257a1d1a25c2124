"""Models that DRepMRec is compared with, from the equations of their papers.

Each is a `Rival`: what `training.fit` trains like DRepMRec itself. Items have config.dim columns in
all, whatever the model is made of. Shapes are those of `models`.
"""
