"""What the original collators made, against what objectives make of the same cells; what is drawn, by size and rules."""

import numpy as np
import pytest

import scdata
from scdata.batch.objectives.base import Cells, Setting, eligible_tokens
from scdata.objectives import MaskedValues, NextGene, PerceptionGeneration
from scdata.tokens import Draws, Ragged, load_tokenizer

CLS, PAD = 60695, 60694


def original(golden, name):
    (case,) = [case for case in golden("scgpt")["collator"] if case["name"] == name]
    return case


@pytest.fixture(scope="module")
def stream(pbmc_set, pbmc_names, reference):
    """A function: cell → {key: numbers} from the loader, in batches as the original's."""

    def run(case, objective, width):
        dataset = scdata.ShardDataset(
            pbmc_set,
            tokenizer=load_tokenizer("scgpt", reference),
            objective=objective,
            context_length=case["params"]["max_length"],
            pad_to=width,
            batch_size=20,
        )
        (batch,) = list(dataset)
        names = [pbmc_names[i] for i in batch["cell_id"].tolist()]
        keys = [key for key in batch if key not in ("state", "cell_id", "dataset")]
        return {name: {key: batch[key][i].tolist() for key in keys} for i, name in enumerate(names)}

    return run


@pytest.mark.parametrize("name", ["pretrain_both_len65", "pretrain_both_len1200"])
def test_perception_and_generation_as_in_pretraining(golden, stream, pbmc_bins, name):
    case = original(golden, name)
    theirs = case["output"]
    n_seen, n_made = len(theirs["pcpt_gene"][0]), len(theirs["gen_gene"][0])
    width = n_seen + n_made
    (rate,) = [rate for rate in (0.25, 0.5, 0.75) if int((width - 1) * rate) == n_made]  # drawn, once a batch
    # the loader's batch has all 20 cells, of which the longest may be longer than these
    ours = stream(case, PerceptionGeneration(rate=rate), case["params"]["max_length"])
    for cell, seen, values, made, targets in zip(case["cells"], *(theirs[key] for key in theirs), strict=True):
        row, n_genes = ours[cell], min(len(pbmc_bins[cell]), case["params"]["max_length"] - 1)
        own_seen, own_made = (
            np.array(row[f"{part}_token_ids"])[row[f"{part}_mask"]].tolist() for part in ("pcpt", "gen")
        )
        # as many genes in each part, <cls> first and always perceived
        assert len(own_seen) == sum(token != PAD for token in seen)
        assert len(own_made) == sum(token != PAD for token in made) == int(n_genes * rate)
        assert own_seen[0] == seen[0] == CLS
        assert row["pcpt_values"][0] == values[0] == -2
        if len(pbmc_bins[cell]) == n_genes:  # nothing was cut
            assert {*own_seen, *own_made} == ({*seen} | {*made}) - {PAD}
        # the same values beside the same genes, the same padding
        for ids, numbers in ((own_seen[1:], row["pcpt_values"][1:]), (own_made, row["gen_targets"])):
            assert numbers[: len(ids)] == [pbmc_bins[cell][token][1] for token in ids]
            assert set(numbers[len(ids) :]) <= {-2}
        for token, target in zip(made, targets, strict=True):
            assert target == (-2 if token == PAD else pbmc_bins[cell][token][1])
    if name == "pretrain_both_len65":
        row = next(iter(ours.values()))
        assert (len(row["pcpt_token_ids"]), len(row["gen_token_ids"])) == (n_seen, n_made)


@pytest.mark.parametrize(
    "name", ["main_mlm_len64", "main_mlm_len1200", "main_mlm_padding_len5000", "pretrain_pcpt_len64"]
)
def test_masked_values_follow_the_originals_rules(golden, stream, name):
    case = original(golden, name)
    genes, values, hidden = _mlm(case)
    rate = case["params"]["mlm_probability"]
    rate = rate[0] if isinstance(rate, list) else rate
    ours = stream(case, MaskedValues(rate=rate), case["params"]["max_length"])
    sums = np.zeros((2, 2))
    for cell, *theirs in zip(case["cells"], genes, values, hidden, strict=True):
        row = ours[cell]
        for i, (ids, whole, seen) in enumerate((theirs, [row[k] for k in ("token_ids", "values", "masked_values")])):
            ids, whole, seen = np.array(ids), np.array(whole), np.array(seen)
            asked = seen == -1
            assert (seen[~asked] == whole[~asked]).all()
            assert (ids[0], seen[0]) == (CLS, -2)
            assert (seen[ids == PAD] == -2).all()
            sums[i] += asked.sum(), (ids != PAD).sum() - 1
        assert np.array_equal(np.array(row["masked_values"]) == -1, row["masked"])
    for n_asked, n in sums:
        assert abs(n_asked - n * rate) < 5 * np.sqrt(n * rate * (1 - rate))
    assert sums[0, 1] == sums[1, 1]  # as many genes might have been asked for


def _mlm(case):
    """Genes, values and masked values of a case: modes name them differently."""
    keys = [key for key in case["output"] if "masked" in key]
    genes = case["output"].get("gene", case["output"].get("pcpt_gene"))
    return genes, case["output"].get("expr", case["output"].get("pcpt_expr")), case["output"][keys[0]]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_fine_tuning_hides_as_many_values(golden, reference, number):
    case = golden("scgpt")["tokenize_and_pad_batch"][number]
    objective = MaskedValues(rate=case["mask_ratio"], like="scgpt-fine-tuning")
    tokenizer = load_tokenizer("scgpt", reference)
    ids, values = np.array(case["genes"]), np.array(case["values"])
    there = ids != PAD
    indptr = np.concatenate(([0], np.cumsum(there.sum(1))))
    ragged = Ragged(indptr, ids[there].astype(np.int32), values[there].astype(np.int32))
    setting = Setting(tokenizer, "padded", ids.shape[1], PAD)
    cells = Cells(*vars(ragged).values(), eligible_tokens(ragged, setting), Draws(0, 0, np.arange(len(ids))), 0)
    ours = np.split(objective.apply(cells, setting)["masked"].array, indptr[1:-1])
    theirs = np.array(case["masked"])
    assert [row.sum() for row in ours] == ((theirs == -1) & there).sum(1).tolist()
    assert (theirs[:, 0] == -1).any() or number == 0  # <cls> among them


@pytest.mark.parametrize("name", ["default_pad_to_12", "truncate_4", "sort_genes", "no_clip"])
def test_next_gene_as_transcriptformer_shifts_its_batches(golden, preset_file, write_files, tmp_path, name):
    """The original shifts rectangles: [START] in front, the last place of all rows becomes [END], padding does not count."""
    (case,) = [case for case in golden("transcriptformer")["tiny"] if case["name"] == name]
    ids, counts = (np.array(case["output"][key]).astype(int) for key in ("gene_token_indices", "gene_counts"))
    limit, pad, vocab = case["params"]["max_len"], case["vocab"]["[PAD]"], case["vocab"]
    files = {"transcriptformer/vocab.json.gz": vocab, "transcriptformer/assay_vocab.json": {"unknown": 0}}
    text = f'extends = "transcriptformer"\ncontext_length = {limit}\n'
    tokenizer = load_tokenizer(preset_file(text), write_files(tmp_path, files))
    there = ids != pad
    indptr = np.concatenate(([0], np.cumsum(there.sum(1))))
    ragged = Ragged(indptr, ids[there].astype(np.int32), counts[there].astype(np.int32))
    setting = Setting(tokenizer, "padded", limit, pad)
    cells = Cells(*vars(ragged).values(), eligible_tokens(ragged, setting), Draws(0, 0, np.arange(len(ids))), 0)
    objective = NextGene(like="transcriptformer")
    objective.check(setting)
    found = objective.apply(cells, setting)
    shifted = np.roll(ids, 1, axis=1), np.roll(counts, 1, axis=1)
    shifted[0][:, 0], shifted[1][:, 0] = vocab["[START]"], 1
    targets = ids.copy()
    targets[:, -1] = vocab["[END]"]
    assert found["input_token_ids"].array.tolist() == shifted[0][there].tolist()
    assert found["input_values"].array.tolist() == shifted[1][there].tolist()
    assert found["target_token_ids"].array.tolist() == targets[there].tolist()
    genes = targets[there] == ids[there]
    assert found["target_values"].array[genes].tolist() == counts[there][genes].tolist()
    assert (~genes).any() == (name in ("truncate_4", "no_clip"))  # some row is full
