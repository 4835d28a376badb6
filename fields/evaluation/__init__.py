"""Scores on test sets, rollouts past the training horizon, verification of conservation laws."""
