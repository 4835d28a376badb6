"""Models as files: checkpoints, model cards, the Hugging Face hub."""
