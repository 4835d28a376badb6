"""Complete models made by others, behind the same ``predict``.

Those that are fitted to data before or instead of training have ``fit(data, *, schema, normalizer,
…)``.
"""
