"""Trainer of Hugging Face transformers: batches from shards, and a checkpoint that goes on in mid-epoch.

    python docs/trainers/hf_trainer.py SET FOLDER --steps 20

Run it again with more steps: it goes on with the cells that were not used yet. On several processes (``torchrun``) every rank
reads its own part: the loader is not given to accelerate, which would hand the same cells out again.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from tiny_model import TinyModel
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

import scdata
from scdata.objectives import MaskedValues

STATE = "cells.json"


class CellTrainer(Trainer):
    """A `Trainer` that takes whole batches, and knows where in the cells it stands."""

    done: dict[str, Any] | None = None

    def get_train_dataloader(self) -> DataLoader:
        return DataLoader(self.train_dataset, batch_size=None)

    def compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any], *rest: Any, **named: Any) -> torch.Tensor:
        loss = model(inputs)
        self.done = inputs["state"]
        print(f"step {self.state.global_step + 1} loss {loss.item():.4f}", flush=True)
        return loss


class SaveCells(TrainerCallback):
    """Writes the state of the last batch used beside every checkpoint."""

    def __init__(self) -> None:
        self.trainer: CellTrainer | None = None

    def on_save(self, arguments: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero and self.trainer is not None:
            folder = Path(arguments.output_dir, f"checkpoint-{state.global_step}")
            (folder / STATE).write_text(json.dumps(self.trainer.done))

    def on_epoch_begin(self, arguments: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        # the trainer's own count is that of its steps; the first epoch is where the loader stands
        if self.trainer is not None and self.trainer.done is not None:
            self.trainer.train_dataset.set_epoch(self.trainer.done["epoch"] + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=20, help="of all runs together")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    dataset = scdata.ShardDataset(arguments.set, batch_size=64, tokenizer="scgpt+fit", objective=MaskedValues())
    last = get_last_checkpoint(str(arguments.folder)) if arguments.folder.is_dir() else None
    if last is not None:
        dataset.load_state_dict(json.loads(Path(last, STATE).read_text()))
    save = SaveCells()
    trainer = CellTrainer(
        model=TinyModel(dataset.vocab.n_tokens),
        args=TrainingArguments(
            output_dir=str(arguments.folder),
            max_steps=arguments.steps,
            learning_rate=3e-3,
            lr_scheduler_type="constant",
            save_strategy="steps",
            save_steps=arguments.steps,
            ignore_data_skip=True,  # the loader goes on by itself; nothing is read only to be thrown away
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
            dataloader_pin_memory=False,
        ),
        train_dataset=dataset,
        callbacks=[save],
    )
    save.trainer = trainer
    trainer.train(resume_from_checkpoint=last)


if __name__ == "__main__":
    main()
