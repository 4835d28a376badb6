"""The command line for data files and checkpoints: ``python -m fields COMMAND``."""
