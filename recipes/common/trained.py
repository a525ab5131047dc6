"""A trained model again, from a checkpoint of any recipe."""

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from scdata import ScdataError, ShardDataset, load_tokenizer

from .checkpoint import read_checkpoint
from .data import choose, open_split, own_preset
from .recipe import Model, Recipe

RECIPES = Path(__file__).resolve().parent.parent


class Trained(NamedTuple):
    """A recipe, the tokenizer that it was opened with (a name, an object, None: the set's own), its model, and what the
    checkpoint says."""

    recipe: Recipe
    tokenizer: Any
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


def wanted_preset(saved: Mapping[str, Any], module: ModuleType) -> str:
    """The preset that a checkpoint learned from: a published one's name, or a file's path."""
    preset: str = saved["run"]["preset"]
    if ".toml" not in preset:
        return preset
    file = saved["config"]["preset"].removesuffix("+fit")  # the run knows a file by its name alone
    return own_preset(file, Path(module.HERE)) + ("+fit" if preset.endswith("+fit") else "")


def load_trained(path: str, checkpoint: Path, device: str = "cpu") -> Trained:
    """The model of a checkpoint, for the cells of a set.

    Raises
    ------
    ValueError
        If the checkpoint is damaged, or the set cannot give the tokens that the model learned from.
    """
    saved = read_checkpoint(checkpoint)
    module = load_recipe(saved["run"]["recipe"])
    config = module.Config(**{**saved["config"], "device": device})
    style, tokenizer = _as_learned(path, module.STYLES, wanted_preset(saved, module), saved, checkpoint)
    recipe = style(config)
    data = open_split(path, "train", recipe, tokenizer)
    model = recipe.build(data, saved["marginals"]).to(device)
    model.load_state_dict(saved["model"])
    model.step = saved["step"]
    return Trained(recipe, tokenizer, model.eval(), saved["run"])


def _as_learned(
    path: str, styles: Sequence[type[Recipe]], wanted: str, saved: dict[str, Any], checkpoint: Path
) -> tuple[type[Recipe], Any]:
    """The recipe, and a tokenizer with which a set gives the tokens that a model learned from.

    A set of other genes, but counts, is read with the genes of the model where these were the training set's own: genes that
    the model never saw are left out.
    """
    preset, genes = saved["run"]["preset"], tuple(saved["genes"])
    try:
        style, tokenizer = choose(path, styles, wanted, asked=True)
        made = ShardDataset(path, split="train", tokenizer=tokenizer)
        if (made.tokenizer.name, tuple(made.vocab.feature_ids)) == (preset, genes):
            return style, tokenizer
        n_same = len(set(made.vocab.feature_ids) & set(genes))
        why = f"{path} gives {made.tokenizer.name!r} over {len(made.vocab.feature_ids):,}, of which {n_same:,} are the same"
    except (ScdataError, ValueError) as error:
        why = str(error)
    said = f"{checkpoint} learned from tokens of {preset!r} over {len(genes):,} genes, and {why}"
    if "fitted" not in saved:
        raise ValueError(
            f"{said}: token ids would mean other genes. Use a set with the same genes, or train with a published vocabulary "
            "that both are read with"
        )
    learned = load_tokenizer(wanted.removesuffix("+fit"), "fit").with_genes(genes, {})
    learned = learned.with_fitted(**{name: np.asarray(own) for name, own in saved["fitted"].items()})
    try:
        n_read = len(ShardDataset(path, split="train", tokenizer=learned, output="dense").dense_feature_ids)
    except ScdataError as error:
        raise ValueError(f"{said}; with the genes of the model: {error}") from error
    # which it lacks, and which it has beside, changes what the model sees
    print(f"{path}: read as the {len(genes):,} genes of the model, {n_read:,} of which it has", file=sys.stderr)
    kind = learned.preset.value.kind
    style = next(style for style in styles if kind in style.kinds)
    return style, learned
