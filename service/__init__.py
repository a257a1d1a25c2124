"""The FastAPI application that answers from a bundle: `python -m service --store STORE`.

Imports `bundle`; never torch, `models` or `training`. Shapes in docstrings as in `bundle`.
"""
