"""Objectives of `ShardDataset`: what a model is asked about a cell, as inputs and targets beside the tokens of a batch.

>>> from scdata.objectives import MaskedGenes
>>> MaskedGenes(rate=0.15)
MaskedGenes(rate=0.15, replace=0.8, random=0.1, like=None)

One of your own is a frozen dataclass that extends `Objective`: `check` refuses what it cannot be used with (a `Setting`),
`apply` turns the `Cells` of a batch into a `Column` a key; ``cells.draws.keys("mask", cells.indptr, cells.token_ids)`` is a
random 64-bit number for every token.
"""

from scdata.batch.objectives.attention import generation_attention, masked_attention
from scdata.batch.objectives.base import Cells, Column, Objective, Rows, Setting
from scdata.batch.objectives.joint_embedding import JointEmbedding
from scdata.batch.objectives.masked_diffusion import MaskedDiffusion
from scdata.batch.objectives.masked_genes import MaskedGenes
from scdata.batch.objectives.masked_values import MaskedValues
from scdata.batch.objectives.next_gene import NextGene
from scdata.batch.objectives.perception_generation import PerceptionGeneration

__all__ = [
    "Cells",
    "Column",
    "JointEmbedding",
    "MaskedDiffusion",
    "MaskedGenes",
    "MaskedValues",
    "NextGene",
    "Objective",
    "PerceptionGeneration",
    "Rows",
    "Setting",
    "generation_attention",
    "masked_attention",
]
