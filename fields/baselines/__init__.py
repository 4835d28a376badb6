"""Complete models made by others, behind the same ``predict``."""
