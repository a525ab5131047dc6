"""Lightning: a data module whose state travels in the checkpoint, so that training goes on in mid-epoch.

    python docs/trainers/lightning_fit.py SET FOLDER --steps 20

Run it again with more steps: Lightning restores model and optimizer, the data module goes on with the cells that were not used.
"""

import argparse
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from tiny_model import TinyModel
from torch.utils.data import DataLoader

import scdata
from scdata.objectives import MaskedValues


class Cells(lightning.LightningDataModule):
    """Batches of a set of shards."""

    def __init__(self, path: str, **options: Any) -> None:
        super().__init__()
        self.dataset = scdata.ShardDataset(path, **options)
        self.done: dict[str, Any] | None = None

    def train_dataloader(self) -> DataLoader:
        """Batches come whole: ``batch_size=None``. Called once an epoch (``reload_dataloaders_every_n_epochs=1``)."""
        self.dataset.set_epoch(self.trainer.current_epoch)
        return DataLoader(self.dataset, batch_size=None)

    def state_dict(self) -> dict[str, Any]:
        """That of the last batch the model was trained on; a loader may have read ahead of it."""
        return {"data": self.done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after that batch."""
        if state_dict["data"] is not None:
            self.dataset.load_state_dict(state_dict["data"])


class Model(lightning.LightningModule):
    """The tiny model, and how it is trained."""

    def __init__(self, n_tokens: int) -> None:
        super().__init__()
        self.model = TinyModel(n_tokens)

    def training_step(self, batch: dict[str, Any], index: int) -> torch.Tensor:
        loss = self.model(batch)
        self.trainer.datamodule.done = batch["state"]
        print(f"step {self.global_step + 1} loss {loss.item():.4f}", flush=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=20, help="of all runs together")
    arguments = parser.parse_args()
    lightning.seed_everything(0, verbose=False)
    cells = Cells(arguments.set, batch_size=64, tokenizer="scgpt+fit", objective=MaskedValues())
    trainer = lightning.Trainer(
        max_steps=arguments.steps,
        reload_dataloaders_every_n_epochs=1,
        accelerator="cpu",
        logger=False,
        callbacks=[
            ModelCheckpoint(arguments.folder, every_n_train_steps=arguments.steps, save_last=True, save_top_k=0)
        ],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    checkpoint = arguments.folder / "last.ckpt"
    start = checkpoint if checkpoint.exists() else None
    trainer.fit(Model(cells.dataset.vocab.n_tokens), datamodule=cells, ckpt_path=start, weights_only=True)


if __name__ == "__main__":
    main()
