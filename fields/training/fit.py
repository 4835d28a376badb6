"""The training loop: fit, save the best weights, resume, and the strategies for many processes."""

from __future__ import annotations

import io
import logging
import math
import os
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from fields.core.files import write_atomically
from fields.data.datamodule import FieldDataModule
from fields.training.base import Training
from fields.training.checks import check_trainer
from fields.training.divergence import DivergedError, FiniteTraining, InterruptedTraining
from fields.training.progress import TrainingProgress

log = logging.getLogger(__name__)

# What a checkpoint must hold so that a run can continue.
NEEDED = {"state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks", "random"}


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint beside its target and rename it when it is complete.

    A run that is killed while it writes still has the checkpoint before.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     AtomicCheckpointIO().save_checkpoint({"epoch": 3}, f"{folder}/last.ckpt")
        ...     [path.name for path in Path(folder).iterdir()]
        ['last.ckpt']
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write ``checkpoint`` to ``path``."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_atomically(path, content.getbuffer())


def fit(
    task: Training, data: FieldDataModule, folder: Path, *, resume: bool = False, **trainer: Any
) -> L.Trainer:
    """Train ``task`` and leave it with its best weights.

    The checkpoints ``best`` (by the validation error) and ``last`` are written into ``folder``
    after every epoch. A run that was interrupted or killed reaches the same weights with
    ``resume``, from the beginning if it had not completed an epoch.

    Args:
        task: what is trained.
        data: the data module.
        folder: for the checkpoints.
        resume: continue from ``last`` if there is one.
        trainer: options of ``lightning.Trainer``.

    Raises:
        InterruptedTraining: interrupted, or asked to end by SIGTERM.
        DivergedError: a number was not finite. The task has its best weights of earlier epochs, if
            the error is marked as `kept`.
        ValueError: a strategy that cannot train these models, or a checkpoint that cannot be
            continued.
    """
    L.seed_everything(task.seed, workers=True, verbose=False)
    keep = ModelCheckpoint(
        folder, filename="best", monitor="val_error", save_last=True, enable_version_counter=False
    )
    check_trainer(trainer)
    shown = [] if trainer.get("enable_progress_bar") is False else [TrainingProgress()]
    callbacks = [FiniteTraining(), keep, *shown, *trainer.pop("callbacks", ())]
    run = _new_trainer(folder, callbacks, trainer)
    last = folder / "last.ckpt"
    begun = resume and last.is_file()
    if begun:
        check_checkpoint(last)
    if resume and not begun:
        log.info("%s has no complete epoch yet: starting from the beginning.", folder)
    try:
        run.fit(task, datamodule=data, ckpt_path=str(last) if begun else None, weights_only=True)
    except SystemExit:  # Lightning's answer to Ctrl-C and SIGTERM
        if run.interrupted:
            stop = InterruptedTraining(
                f"The training was interrupted in epoch {run.current_epoch + 1}."
            )
            # Several processes are not interrupted at the same moment: they cannot go on together.
            stop.kept = run.world_size == 1 and _load_best(task, keep)
            raise stop from None
        raise
    except DivergedError as error:
        row = {"epoch": run.current_epoch, "seconds": task.elapsed}
        task.history.append(row | {"loss": math.nan, "val_error": math.nan})  # for the report
        error.kept = _load_best(task, keep)
        raise
    if not _load_best(task, keep):
        task.load_best_weights(None)
    return run


def _new_trainer(folder: Path, callbacks: list[L.Callback], trainer: dict[str, Any]) -> L.Trainer:
    """The trainer with these options, which keeps its checkpoints in ``folder``."""
    own = {
        "default_root_dir": folder,
        "logger": False,
        "use_distributed_sampler": False,
        "plugins": [AtomicCheckpointIO()],
    }
    try:
        return L.Trainer(callbacks=callbacks, **own, **strategy_options(trainer))
    except (MisconfigurationException, ImportError) as error:  # such as a GPU where there is none
        raise ValueError(f"These settings of the trainer cannot be used here: {error}") from error


def _load_best(task: Training, keep: ModelCheckpoint) -> bool:
    """Load the weights with the least validation error; False if nothing was validated."""
    best = keep.best_model_path
    if not best:
        return False
    saved = torch.load(best, weights_only=True, map_location="cpu")
    task.load_best_weights(saved["state_dict"])
    return True


def check_checkpoint(path: Path) -> None:
    """Refuse a checkpoint that cannot be continued, before anything of it is used.

    Only tensors and plain values are loaded, so that no code from the file is run.

    Raises:
        ValueError: the file is damaged, or holds something else.
    """
    cure = f"Delete {path} to start from the beginning."
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except Exception:  # whatever a damaged archive or a foreign pickle causes
        raise ValueError(
            f"{path} cannot be continued: it is damaged, or holds objects other than tensors and "
            f"plain values, which are not loaded because they could run code. {cure}"
        ) from None
    missing = NEEDED - set(content) if isinstance(content, dict) else NEEDED
    if missing:
        raise ValueError(
            f"{path} cannot be continued: it has no {', '.join(sorted(missing))}. {cure}"
        )


def strategy_options(trainer: dict[str, Any]) -> dict[str, Any]:
    """Options of the trainer for all processes that torchrun has started.

    Several processes use DDP unless another strategy is given; ``fsdp`` shards every weight.

    Args:
        trainer: options that the user gave.

    Raises:
        ValueError: a strategy that cannot train these models.

    Example:
        >>> strategy_options({"max_epochs": 3})  # one process
        {'max_epochs': 3}
    """
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
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
            "`FSDPStrategy` flattens weights into vectors: Muon cannot step them, and Lightning "
            "cannot clip their gradients by norm. Use `--trainer.strategy fsdp`, the second "
            "version of PyTorch, which keeps the shapes."
        )
    if strategy == "fsdp":
        if ranks == 1:
            raise ValueError(
                "Strategy 'fsdp' shards weights among processes, but there is only one process. "
                "Start with `torchrun --nproc-per-node=N`."
            )
        trainer["strategy"] = ModelParallelStrategy(ranks, 1, save_distributed_checkpoint=False)
    return trainer
