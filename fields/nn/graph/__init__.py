"""Graphs: differences along edges, attention between neighbors, learned incidence operators."""
