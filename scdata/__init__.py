"""scdata: from single-cell counts to verified shards, and from shards to batches of tokens.

Names, in the order in which data pass them. Each is imported when it is first used, so that ``import scdata`` is quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scdata import objectives as objectives
    from scdata._blocks import CellBlock as CellBlock
    from scdata._blocks import GeneSpace as GeneSpace
    from scdata._blocks import TokenBlock as TokenBlock
    from scdata._errors import ScdataError as ScdataError
    from scdata.batch.dataset import ShardDataset as ShardDataset
    from scdata.batch.mixed import mix as mix
    from scdata.batch.views import encoder_view as encoder_view
    from scdata.build import open_source as open_source
    from scdata.build.against.verify import verify_against as verify_against
    from scdata.build.fit_set import fit_set as fit_set
    from scdata.build.from_memory import from_anndata as from_anndata
    from scdata.build.pipeline import build_shards as build_shards
    from scdata.counts.orthologs import read_orthologs as read_orthologs
    from scdata.export.formats import export_set as export_set
    from scdata.hub.publish import publish as publish
    from scdata.shard.decode import decode_block as decode_block
    from scdata.shard.decode import iter_cells as iter_cells
    from scdata.shard.verify import verify_shards as verify_shards
    from scdata.source import register_source as register_source
    from scdata.stream.anndata_cells import iter_anndata as iter_anndata
    from scdata.stream.anndata_cells import to_anndata as to_anndata
    from scdata.stream.shuffle_quality import shuffle_quality as shuffle_quality
    from scdata.tokens.kernels.levels import decode_levels as decode_levels
    from scdata.tokens.loading import load_tokenizer as load_tokenizer

__version__ = "0.1.0"

_HOME = {
    "open_source": "scdata.build",
    "register_source": "scdata.source",
    "GeneSpace": "scdata._blocks",
    "CellBlock": "scdata._blocks",
    "load_tokenizer": "scdata.tokens.loading",
    "TokenBlock": "scdata._blocks",
    "read_orthologs": "scdata.counts.orthologs",
    "build_shards": "scdata.build.pipeline",
    "from_anndata": "scdata.build.from_memory",
    "fit_set": "scdata.build.fit_set",
    "verify_shards": "scdata.shard.verify",
    "verify_against": "scdata.build.against.verify",
    "publish": "scdata.hub.publish",
    "decode_block": "scdata.shard.decode",
    "iter_cells": "scdata.shard.decode",
    "to_anndata": "scdata.stream.anndata_cells",
    "iter_anndata": "scdata.stream.anndata_cells",
    "export_set": "scdata.export.formats",
    "shuffle_quality": "scdata.stream.shuffle_quality",
    "ShardDataset": "scdata.batch.dataset",
    "mix": "scdata.batch.mixed",
    "objectives": "scdata.objectives",
    "encoder_view": "scdata.batch.views",
    "decode_levels": "scdata.tokens.kernels.levels",
    "ScdataError": "scdata._errors",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'scdata' has no attribute {name!r}")
    try:
        module = importlib.import_module(_HOME[name])
    except ModuleNotFoundError as error:
        from scdata._optional import need

        need((error.name or "").split(".")[0], f"use scdata.{name}")  # says what to install, if it is one of ours
        raise
    value = module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
