"""Write ``configuration.md`` from the parser: ``python docs/configuration_page.py``."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from fields.training.configurations import CONFIGS
from fields.training.settings import SettingsParser, settings_parser

PAGE = Path(__file__).with_name("configuration.md")
# Title and text of each group of keys; the trainer's keys are those that configurations use.
GROUPS = {
    "run": ("The run", "Name and folder of the run, and what is trained beside the model."),
    "model": ("The model", "Its components and how they are trained. A component is a class path "
              "with arguments; `python train.py --model.encoder.help CLASS` lists them."),
    "data": ("The data", "Files, splits, and how samples are drawn from them."),
    "report": ("The report", "What is measured besides the errors; see [Extending](extending.md)."),
    "trainer": ("The trainer", "Arguments of "
                "[Lightning's trainer](https://lightning.ai/docs/pytorch/stable/)"
                "; these are the ones that are needed most often."),
}  # fmt: skip
TRAINER = {
    "max_epochs": "The run ends after this many epochs, or after `model.seconds`.",
    "accelerator": "`auto`, `cpu` or `gpu`.",
    "devices": "Number of devices; set by torchrun if it starts the program.",
    "strategy": "`auto`, `ddp` or `fsdp`; see [Beyond one machine](scaling.md).",
    "gradient_clip_val": "Largest norm of the gradient.",
    "accumulate_grad_batches": "Batches per step of the optimizer.",
    "limit_train_batches": "Number or share of batches per epoch.",
    "limit_val_batches": "Number or share of validation batches.",
    "check_val_every_n_epoch": "Epochs between two validations.",
    "enable_progress_bar": "Whether progress is shown.",
}
HEAD = """# Configuration

<!-- Written by docs/configuration_page.py. -->

Every setting is a key of a YAML file and an option of the command line:

```bash
python train.py --config burgers --model.dim=64 --data.batch_size=16
```

`--config` takes a file or the name of a shipped configuration, and may be given several times;
later files and options override earlier ones. `--print_config` prints the resulting settings.

A file states only what differs from the file that it names in `base`. The shipped configurations
are based on `configs/base.yaml`:

```yaml
{base}```

Without `--config`, the settings are those of `configs/burgers.yaml`:

```yaml
{burgers}```
"""


def escaped(text: str) -> str:
    """Text for a cell of a table."""
    text = re.sub(r":class:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", " ".join(text.split()))
    return text.replace("``", "`").replace("|", "\\|").replace("None", "null")


def default_of(action: argparse.Action) -> str:
    """The default of a key as YAML writes it."""
    value = action.default
    if isinstance(value, dict) and "class_path" in value:
        value = value["class_path"]
    if value is None:
        return "null"
    if isinstance(value, tuple):
        return str(list(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def rows(parser: SettingsParser, group: str) -> Iterator[str]:
    """A row for each key of a group."""
    for action in parser._actions:
        key = action.dest
        if not key.startswith(f"{group}.") or not hasattr(action, "_typehint"):
            continue
        text = str(action.help)
        if group == "trainer":
            if key.removeprefix("trainer.") not in TRAINER:
                continue
            yield f"| `{key}` | {TRAINER[key.removeprefix('trainer.')]} |"
        else:
            shown = "required" if action.required else f"`{default_of(action)}`"
            yield f"| `{key}` | {shown} | {escaped(text)} |"


def page() -> str:
    """The whole page."""
    parser = settings_parser()
    files = {name: (CONFIGS / f"{name}.yaml").read_text() for name in ("base", "burgers")}
    parts = [HEAD.format(**files)]
    parts.append("## At the top of a file\n")
    parts += ["| key | meaning |", "| --- | --- |"]
    parts.append("| `base` | Configuration that is loaded before this one. |")
    for action in parser._actions:
        if action.dest in ("tokens", "make"):
            parts.append(f"| `{action.dest}` | {escaped(str(action.help))} |")
    for group, (title, text) in GROUPS.items():
        trainer = group == "trainer"
        head = "| key | meaning |" if trainer else "| key | default | meaning |"
        line = "| --- | --- |" if trainer else "| --- | --- | --- |"
        parts += [
            f"\n## {title}\n",
            f"{textwrap.fill(text, 100, break_long_words=False)}\n",
            head,
            line,
            *rows(parser, group),
        ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
