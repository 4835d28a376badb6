"""The command card."""

from __future__ import annotations

import json as json_


def show_card(checkpoint: str, *, json: bool = False) -> int:
    """Show what a trained model states about itself: problem, domain, training range, errors.

    Args:
        checkpoint: a checkpoint file, or the name of a shipped model.
        json: print JSON for programs.
    """
    from fields.checkpoints.card_text import card_text
    from fields.checkpoints.checkpoint import find_checkpoint, read_header

    header = read_header(find_checkpoint(checkpoint))
    print(json_.dumps(header, indent=2) if json else card_text(header))
    return 0
