"""One file a layout; readers are found by walking this package."""
