"""A trained model again, from a checkpoint of any recipe."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from .checkpoint import read_checkpoint
from .data import choose, open_split, own_preset
from .recipe import Model, Recipe

RECIPES = Path(__file__).resolve().parent.parent


class Trained(NamedTuple):
    """A recipe, the tokenizer that it was opened with (None: the set's own), its model, and what the checkpoint says."""

    recipe: Recipe
    tokenizer: str | None
    model: Model
    run: dict[str, Any]


def load_recipe(name: str) -> ModuleType:
    """``train.py`` of a recipe beside this folder."""
    known = sorted(path.parent.name for path in RECIPES.glob("*/train.py"))
    if name not in known:
        raise ValueError(f"the checkpoint is of a recipe {name!r}, and there are {', '.join(known)}")
    full = f"recipe_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, RECIPES / name / "train.py")
        assert spec is not None  # a file that is there
        assert spec.loader is not None
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]


def load_trained(path: str, checkpoint: Path, device: str = "cpu") -> Trained:
    """The model of a checkpoint, for the cells of a set.

    Raises
    ------
    ValueError
        If the checkpoint is damaged, or the set gives other tokens than the model learned from.
    """
    saved = read_checkpoint(checkpoint)
    module = load_recipe(saved["run"]["recipe"])
    config = module.Config(**{**saved["config"], "device": device})
    preset = saved["run"]["preset"]
    wanted = preset
    if ".toml" in preset:  # the run knows a file by its name alone
        file = saved["config"]["preset"].removesuffix("+fit")
        wanted = own_preset(file, Path(module.HERE)) + ("+fit" if preset.endswith("+fit") else "")
    style, tokenizer = choose(path, module.STYLES, wanted, asked=True)
    recipe = style(config)
    data = open_split(path, "train", recipe, tokenizer)
    there, learned = set(data.vocab.feature_ids), set(saved["genes"])
    if tuple(data.vocab.feature_ids) != tuple(saved["genes"]) or data.tokenizer.name != preset:
        raise ValueError(
            f"{checkpoint} learned from tokens of {preset!r} over {len(learned):,} genes, and {path} gives "
            f"{data.tokenizer.name!r} over {len(there):,}, of which {len(there & learned):,} are the same: token ids would "
            "mean other genes. Use a set with the same genes, or train with a published vocabulary on both"
        )
    model = recipe.build(data, saved["marginals"]).to(device)
    model.load_state_dict(saved["model"])
    model.step = saved["step"]
    return Trained(recipe, tokenizer, model.eval(), saved["run"])
