"""One run from data to numbers: fit, keep the best, test at every resolution, beside the trivial predictor."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy

from fields.data.datamodule import FieldDataModule
from fields.training.progress import Meter
from fields.training.task import Training

log = logging.getLogger(__name__)


class WholeFiles(TorchCheckpointIO):
    """A checkpoint takes its name when it is complete: a run killed while it writes still has the one before."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Writes beside, then renames."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        torch.save(checkpoint, part)
        os.replace(part, path)


def fit(
    task: Training, data: FieldDataModule, folder: Path, *, resume: bool = False, **trainer: Any
) -> L.Trainer:
    """Trains, keeps ``best`` by the validation error and ``last`` for resuming in ``folder``, and leaves ``task`` at its best.

    Everything needed to continue is written after every epoch; a run that was interrupted or killed
    goes on with ``resume``, from its beginning if it had not come further, to the same weights.

    Raises:
        KeyboardInterrupt: interrupted, or asked to end by SIGTERM.
    """
    L.seed_everything(task.seed, workers=True, verbose=False)
    keep = ModelCheckpoint(
        folder, filename="best", monitor="val_error", save_last=True, enable_version_counter=False
    )
    own = {
        "default_root_dir": folder,
        "logger": False,
        "use_distributed_sampler": False,
        "plugins": [WholeFiles()],
    }
    shown = [] if trainer.get("enable_progress_bar") is False else [Meter()]
    run = L.Trainer(
        callbacks=[keep, *shown, *trainer.pop("callbacks", ())], **own, **processes(trainer)
    )
    last = folder / "last.ckpt"
    begun = resume and last.is_file()
    if resume and not begun:
        log.info("%s has no complete epoch yet: starting from the beginning.", folder)
    try:
        run.fit(task, datamodule=data, ckpt_path=str(last) if begun else None, weights_only=False)
    except SystemExit:  # Lightning's answer to Ctrl-C and SIGTERM
        if run.interrupted:
            raise KeyboardInterrupt from None
        raise
    best = keep.best_model_path  # none if the run ended before its first validation
    task.load_best_weights(
        torch.load(best, weights_only=False, map_location="cpu")["state_dict"] if best else None
    )
    return run


def processes(trainer: dict[str, Any]) -> dict[str, Any]:
    """Trainer options for all processes that torchrun started: DDP unless told otherwise; ``fsdp`` shards every weight.

    Raises:
        ValueError: a strategy that cannot train these models.
    """
    ranks, here = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    strategy = trainer.get("strategy", "auto")
    if "LOCAL_WORLD_SIZE" in os.environ and ranks > 1:
        trainer = {
            **trainer,
            "devices": here,
            "num_nodes": ranks // here,
            "strategy": "ddp" if strategy == "auto" else strategy,
        }
    if isinstance(strategy, FSDPStrategy):
        raise ValueError(
            "`FSDPStrategy` flattens weights into vectors, which Muon cannot step and gradients of which Lightning cannot clip by "
            "their norm. Use `--trainer.strategy fsdp`, PyTorch's second version, which keeps their shapes."
        )
    if strategy == "fsdp":
        if ranks == 1:
            raise ValueError(
                "Strategy 'fsdp' shards weights among processes, and this is one. Use `torchrun --nproc-per-node=N`."
            )
        trainer["strategy"] = ModelParallelStrategy(ranks, 1, save_distributed_checkpoint=False)
    return trainer
