"""Graphs and the discrete calculus on them: incidence, coboundaries, Hodge stars, graph attention."""
