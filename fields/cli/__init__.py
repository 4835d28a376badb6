"""The command line around data files and checkpoints: ``python -m fields COMMAND``."""
