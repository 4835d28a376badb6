"""Training: the task, its objective and optimizer, the loop, and the main job."""
