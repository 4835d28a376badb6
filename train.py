"""Train a model, test it, compare it with a baseline and report.

    python train.py [--config FILE ...] [--key value ...]

Without arguments it runs the main job (`configs/burgers.yaml`); `--help` lists all settings.
An installed package has the same as the command `fields-train`.
"""

from __future__ import annotations

from collections.abc import Sequence

from fields.training.run import train


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job that the words of the command line describe."""
    train(argv, program="python train.py")


if __name__ == "__main__":
    main()
