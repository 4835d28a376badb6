"""From dataset to dataset: prediction, streamed rollouts, exported programs, conformal bands."""
