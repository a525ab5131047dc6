"""Checkpoints that are there whole or not at all, and a log that fits the checkpoint it goes on from."""

import json
import os
from pathlib import Path
from typing import Any

import torch

_KEEP = 2


def checkpoints(folder: Path) -> list[Path]:
    """Those of a folder, oldest first."""
    return sorted(folder.glob("checkpoint-*.pt"))


def save_checkpoint(folder: Path, table: dict[str, Any]) -> Path:
    """Write ``checkpoint-{step}.pt`` under another name first; keep the newest two."""
    path, temporary = folder / f"checkpoint-{table['step']:09d}.pt", folder / ".checkpoint.tmp"
    with temporary.open("wb") as file:
        torch.save(table, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    for old in checkpoints(folder)[:-_KEEP]:
        old.unlink()
    return path


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of any recipe.

    Raises
    ------
    ValueError
        If there is none, or it is damaged.
    """
    if not path.is_file():
        raise ValueError(f"there is no checkpoint {path}")
    try:
        table: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        table["run"], table["model"]
    except Exception as error:  # torch raises whatever the damage leads to
        raise ValueError(f"{path} is damaged ({error!r:.80}): delete it to resume from the one before") from error
    return table


def load_checkpoint(folder: Path, run: dict[str, Any]) -> dict[str, Any]:
    """The newest checkpoint of a folder.

    Parameters
    ----------
    folder
        Where `save_checkpoint` wrote.
    run
        What decides the losses (set, seed, config, …); must equal the checkpoint's ``run``.

    Raises
    ------
    ValueError
        If there is none, or it is of another run; names every difference.
    """
    found = checkpoints(folder)
    if not found:
        raise ValueError(f"{folder} holds no checkpoint to resume from: leave out --resume")
    table = read_checkpoint(found[-1])
    was = table["run"]
    differ = [f"{k} was {was.get(k)!r} and is {run.get(k)!r}" for k in sorted({*was, *run}) if was.get(k) != run.get(k)]
    if differ:
        raise ValueError(f"{found[-1]} is of another run: {'; '.join(differ)}")
    return table


def refuse_other_run(folder: Path) -> None:
    """An error if a run stands in the folder already."""
    found = checkpoints(folder)
    if found:
        raise ValueError(f"{folder} holds a run already ({found[-1].name}): add --resume, or choose another --out")


class Log:
    """``log.jsonl``: one JSON object a line; the first `size` bytes belong to the checkpoint that is resumed."""

    def __init__(self, path: Path, size: int = 0) -> None:
        self._path = path
        path.touch()
        if path.stat().st_size < size:
            raise ValueError(f"{path} is shorter than its checkpoint says: put it back, or begin in another --out")
        os.truncate(path, size)

    def write(self, line: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def position(self) -> int:
        """Bytes written so far, all of them on disk."""
        with self._path.open("rb") as file:
            os.fsync(file.fileno())
        return self._path.stat().st_size

    def read(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._path.read_text(encoding="utf-8").splitlines()]
