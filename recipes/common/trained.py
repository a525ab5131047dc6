"""A trained model again, from a checkpoint of any recipe."""

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from scdata import ScdataError, ShardDataset, load_tokenizer
from scdata._errors import MappingError
from scdata.counts.genes import ensembl_prefix

from .checkpoint import read_checkpoint
from .data import choose, open_split, own_preset
from .recipe import Model, Recipe

_OTHER_GENES = (
    "Cells of another species have genes of the model's where they are built with `scdata build --orthologs`; else train on "
    "genes that both have"
)
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
    data = open_split(path, "train", recipe, tokenizer, **recipe.embed_options())
    model = recipe.rebuild(data, saved).to(device)
    model.load_state_dict(saved["model"])
    model.step = saved["step"]
    return Trained(recipe, tokenizer, model.eval(), saved["run"])


def _as_learned(
    path: str, styles: Sequence[type[Recipe]], wanted: str, saved: dict[str, Any], checkpoint: Path
) -> tuple[type[Recipe], Any]:
    """The recipe, and a tokenizer with which a set gives the tokens that a model learned from.

    A set of counts that would give others is read with the genes of the model, and with what was fitted to the training set:
    genes that the model never saw are left out, and those that the set lacks are not measured, as in a set of several datasets.
    """
    preset, genes, same = saved["run"]["preset"], tuple(saved["genes"]), None
    try:
        chosen = choose(path, styles, wanted, asked=True)
        made = ShardDataset(path, split="train", tokenizer=chosen[1])
        n_same = len(set(made.vocab.feature_ids) & set(genes))
        why = f"{path} gives {made.tokenizer.name!r} over {len(made.vocab.feature_ids):,}, of which {n_same:,} are the same"
        if (made.tokenizer.name, made.vocab.feature_ids) == (preset, genes):
            same, own = chosen, {"fitted": made.tokenizer.fitted.to_json(), "columns": made.dense_feature_ids}
            if all(saved.get(key, value) == value for key, value in own.items()):
                return same
            why = f"{path} chooses other genes, or has other values, by the same rule"
    except (ScdataError, ValueError) as error:
        why = str(error)
    said = f"{checkpoint} learned from tokens of {preset!r} over {len(genes):,} genes, and"
    if "fitted" in saved:
        try:
            learned = _learned(saved, wanted)
            of_set = ShardDataset(path, split="train", tokenizer=_with_columns(learned, fixed=False))
            n_has = len(of_set.dense_feature_ids)
            n_genes = len(learned.chosen_tokens)
        except ScdataError as error:
            if same is None:
                # not what the set lacks to be read with a fit of its own: the model brings one
                cause = _cause(path, genes, str(error)) if isinstance(error, MappingError) else str(error)
                raise ValueError(f"{said} {path} cannot be read with these: {cause}") from error
            return same  # it holds tokens, of which no others can be made
        if not n_has:
            none = f"it has none of the {n_genes:,} genes that {checkpoint} reads"
            raise ValueError(f"{path}: {_cause(path, genes, none)}")
        # which it lacks changes what the model sees
        print(f"{path}: read as the {n_genes:,} genes of the model, {n_has:,} of which it has", file=sys.stderr)
        style = next(style for style in styles if learned.preset.value.kind in style.kinds)
        return style, _with_columns(learned, fixed=True)
    if same is not None:
        return same
    raise ValueError(
        f"{said} {why}: token ids would mean other genes. Use a set with the same genes, or train with a published "
        "vocabulary that both are read with"
    )


def _cause(path: str, genes: Sequence[str], found: str) -> str:
    """Why a set has next to none of a model's genes, and what to do: it calls them otherwise, or they are others."""
    of_set, of_model = (_named(own) for own in (ShardDataset(path, split="train").vocab.feature_ids, genes))
    if of_set[0] == of_model[0]:
        return f"{found}. {_OTHER_GENES}"
    return (
        f"it calls its genes by {of_set[0]}, such as {of_set[1]!r}, and the model by {of_model[0]}, such as {of_model[1]!r}. "
        f"Build the set with `scdata build --feature-id COLUMN`, a var column with {of_model[0]}, which the source may "
        "lack, or train on a set that calls genes as this one does"
    )


def _named(genes: Sequence[str]) -> tuple[str, str]:
    """What genes are called by, and an example."""
    some = genes[:: -(-len(genes) // 2000)]  # the first of sorted ones are not like all
    return ("symbols or other names" if ensembl_prefix(some) is None else "Ensembl ids"), some[len(some) // 2]


def _learned(saved: Mapping[str, Any], wanted: str) -> Any:
    """The tokenizer of a training set: of the genes that were in it, with what was fitted to it.

    Raises
    ------
    ScdataError
        If published files are not at hand.
    ValueError
        If they hold other genes than those that the model learned from.
    """
    tokenizer, genes = load_tokenizer(wanted), tuple(saved["genes"])
    if tokenizer.vocab is None:
        tokenizer = tokenizer.with_genes(genes, {})
    elif tokenizer.vocab.feature_ids != genes:
        raise ValueError(f"the published vocabulary of {wanted!r} is another than the one that the model learned from")
    fitted = {name: np.asarray(own) for name, own in saved["fitted"].items()}
    columns = saved.get("columns", genes)
    if len(columns) < len(genes):
        fitted["selected"] = np.array([tokenizer.genes().gene_index[gene] for gene in columns], np.int32)
    return tokenizer.with_fitted(**fitted)


def _with_columns(tokenizer: Any, fixed: bool) -> Any:
    """The same, whose dense batches have a column for each of its genes, or, where not `fixed`, for those that a set has."""
    preset = tokenizer.preset
    return replace(tokenizer, preset=replace(preset, vocab=replace(preset.vocab, fixed=fixed)))
