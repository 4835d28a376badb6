"""The catalogue of benchmark problems; in a wheel it is called `bracketfields_datasets`."""

MARKER = "bracketfields"  # tells this package from others of the same name
