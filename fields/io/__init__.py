"""Every file layout, opened into the same lazy dataset."""
