"""Vector fields on tokens and the energies that drive them."""
