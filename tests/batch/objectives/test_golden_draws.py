"""What is drawn never changes: literal results of each objective for two cells.

A change here means that a training run, resumed or repeated, sees other masks; do not edit them to make a test pass.
"""

import numpy as np
import pytest

from scdata import load_tokenizer
from scdata.batch.objectives.base import Cells, Column, Setting, eligible_tokens
from scdata.objectives import (
    JointEmbedding,
    MaskedDiffusion,
    MaskedGenes,
    MaskedValues,
    PerceptionGeneration,
)
from scdata.tokens import Draws, Ragged


def drawn(preset, objective, number=0):
    """What an objective makes of the cells 3 and 2**40 of a vocabulary's first 12 and 8 genes."""
    tokenizer = load_tokenizer(preset, "fit").with_genes([f"ENSG{i:011d}" for i in range(30)], {})
    setting = Setting(tokenizer, "packed", None, 0)
    genes, indptr = tokenizer.genes().gene_tokens, np.array([0, 12, 20])
    values = None if preset == "geneformer-v2" else np.arange(1, 21, dtype=np.int32)
    ragged = Ragged(indptr, np.concatenate([genes[:12], genes[:8]]), values)
    draws = Draws(7, 5, np.array([3, 1 << 40]))
    cells = Cells(indptr, ragged.token_ids, values, eligible_tokens(ragged, setting), draws, number)
    made = objective.apply(cells, setting)
    return {key: (found.array if isinstance(found, Column) else found).tolist() for key, found in made.items()}


def masks(preset, objective, number=0):
    return "".join(map(str, map(int, drawn(preset, objective, number)["masked"])))


def test_masked_genes_never_change():
    found = drawn("geneformer-v2", MaskedGenes(rate=0.5))
    assert found["masked_token_ids"] == [1, 1, 1, 7, 8, 9, 1, 11, 1, 1, 31, 15, 1, 1, 1, 1, 8, 1, 1, 11]


@pytest.mark.parametrize("objective", [MaskedValues(rate=0.5), JointEmbedding(rate=0.5)])
def test_masked_values_never_change(objective):
    assert masks("scgpt", objective) == "01110011011101111011"


def test_replaced_values_never_change():
    found = drawn("scgpt", MaskedValues(rate=0.5, replace=0.5))
    assert found["masked_values"] == [1, -1, -1, 4, 5, 6, 7, 8, 9, -1, -1, 12, 13, -1, 15, -1, -1, 18, -1, -1]


def test_rates_of_batches_never_change():
    found = [masks("scgpt", MaskedValues(rate=(0.1, 0.5, 0.9)), number) for number in range(6)]
    assert found == ["01110011011101111011"] * 4 + ["00000001000001000010"] * 2


def test_a_number_of_hidden_values_never_changes():
    assert masks("scgpt", MaskedValues(rate=0.5, like="scgpt-fine-tuning")) == "00110011010101001011"
    found = drawn("scgpt", PerceptionGeneration(rate=0.5))
    assert found["gen_token_ids"] == [5, 6, 9, 10, 12, 14, 4, 7, 9, 10]


def test_diffusion_never_changes():
    found = drawn("lingshu-cell", MaskedDiffusion())
    assert "".join(map(str, map(int, found["masked"]))) == "10111111111110001111"
    assert found["diffusion_time"] == pytest.approx([0.8698491454124451, 0.5223832726478577], rel=1e-7)
