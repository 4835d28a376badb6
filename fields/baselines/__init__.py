"""Published models with the same ``predict`` as ours, and the trivial predictors.

Models that are computed from the training data before or instead of a training have a class method
``fit(data, *, schema, normalizer, …)``.
"""
