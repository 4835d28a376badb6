"""From dataset to dataset: prediction, streaming rollouts, export, conformal bands."""
