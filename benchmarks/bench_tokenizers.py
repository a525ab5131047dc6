"""Tokenizers alone, without reading or collating: cells per core-second, against plain code and against memcpy.

    python benchmarks/bench_tokenizers.py [--h5ad CELLS.h5ad] [--rounds 7] [--seconds 0.3]

One process, one core, real cells, all genes of the file as vocabulary (``--assets fit``). Two tables:

against plain   `plain_tokenizers.py` and what does the same here, in alternating runs; the ratio is the median of the ratios
                of the runs.
presets         every preset from genes and counts to finished tokens, in blocks as a loader hands them over; `memcpy` is how
                many times longer that takes than copying as many bytes as go in and come out.

Time is CPU time of the process, so neighbours on the machine count little.
"""

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import plain_tokenizers as plain
import scipy.sparse as sp
from measure import write_result

from scdata import load_tokenizer
from scdata._blocks import I32, I64, Array
from scdata.counts.csr import gather_genes
from scdata.normalize.library_size import library_size
from scdata.normalize.thinning import thin
from scdata.source import SyntheticSource, open_source
from scdata.tokens import Draws, Ragged, Tokenizer, preset_names
from scdata.tokens.corpus import CorpusStatistics, FirstPass, Wanted
from scdata.tokens.kernels.quantile_ties import quantile_bins_random, quantile_bins_upper

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "human_pbmc_1k_v3.h5ad"
BLOCK = 256  # cells
Run = Callable[[], Any]


@dataclasses.dataclass(frozen=True)
class Cells:
    """CSR of counts over G genes in order of id, int32, with int64 totals."""

    feature_ids: list[str]
    indptr: I64
    genes: I32
    counts: I32
    total: I64

    def blocks(self) -> "list[Cells]":
        """The same cells, `BLOCK` at a time."""
        out = []
        for start in range(0, len(self.total), BLOCK):
            own = self.indptr[start : start + BLOCK + 1]
            part = slice(own[0], own[-1])
            total = self.total[start : start + BLOCK]
            out.append(Cells(self.feature_ids, own - own[0], self.genes[part], self.counts[part], total))
        return out


def read_cells(h5ad: str | None, n_synthetic: int) -> tuple[str, Cells]:
    """Non-empty cells of a file, or of the synthetic source if there is none."""
    if h5ad is None:
        source, name = SyntheticSource(n_synthetic, n_genes=20_000, mean_genes=1_839), "synthetic"
    else:
        source, name = open_source(h5ad), Path(h5ad).stem
    block = source.read(slice(0, source.n_obs))
    ids = sorted(set(source.genes.feature_ids))
    place = {gene: i for i, gene in enumerate(ids)}
    target = np.array([place[gene] for gene in source.genes.feature_ids], np.int32)
    indptr, genes, counts = gather_genes(block.indptr, block.indices, block.data, target, len(ids))
    kept = np.concatenate(([0], indptr[1:][np.diff(indptr) > 0]))
    return name, Cells(ids, kept, genes, counts, library_size(kept, counts))


def fitted(name: str, cells: Cells) -> Tokenizer | str:
    """A preset over the cells' own genes, fitted to them where it needs that; or why that cannot be had."""
    try:
        tokenizer = load_tokenizer(name, "fit").with_genes(cells.feature_ids, {})
        wanted = Wanted.by(tokenizer)
        if wanted.second_pass:
            return "needs the genes of a second pass over a corpus"
        if tokenizer.unfitted:
            of = (cells.indptr, cells.genes, cells.counts, cells.total, len(cells.feature_ids), None)
            first = FirstPass.of(wanted, *of)
            statistics = CorpusStatistics(len(cells.feature_ids), wanted.total, first.histogram, first.depth)
            tokenizer = statistics.fit(tokenizer)
        tokenizer.require_fitted()
    except Exception as error:  # one preset less is still a table
        return f"{type(error).__name__}: {error}"
    return tokenizer


def changed(tokenizer: Tokenizer, table: str, **keys: Any) -> Tokenizer:
    """The tokenizer with other keys in a table of its preset."""
    part = dataclasses.replace(getattr(tokenizer.preset, table), **keys)
    return dataclasses.replace(tokenizer, preset=dataclasses.replace(tokenizer.preset, **{table: part}))


def draws_of(cells: Cells) -> Draws:
    """Random numbers for some cells."""
    return Draws(0, 0, np.arange(len(cells.total)))


def random_bins(tokenizer: Tokenizer, cells: Cells) -> I32:
    """Quantile bins alone, random where a value owns several; places of genes stand for token ids."""
    keys = draws_of(cells).cell_keys("ties")
    return quantile_bins_random(cells.indptr, cells.counts, cells.genes, keys, tokenizer.preset.value.n_bins)


def upper_bins(tokenizer: Tokenizer, cells: Cells) -> I32:
    """Quantile bins alone, upper ones."""
    return quantile_bins_upper(cells.indptr, cells.counts, tokenizer.preset.value.n_bins)


def tokenize(tokenizer: Tokenizer, cells: Cells) -> Ragged:
    """Token ids in order, and values, of all genes."""
    return tokenizer.tokenize(cells.indptr, cells.genes, cells.counts, cells.total, draws_of(cells))


def whole(tokenizer: Tokenizer, cells: Cells) -> Ragged:
    """Finished tokens: thinned, cut, with special tokens, as the preset says."""
    draws = draws_of(cells)
    indptr, genes, counts, total = cells.indptr, cells.genes, cells.counts, cells.total
    rule = tokenizer.preset.depth.thin
    if rule is not None:
        left, _ = thinned(tokenizer, cells)
        kept = left > 0
        indptr, genes, counts = np.concatenate(([0], np.cumsum(kept)))[indptr], genes[kept], left[kept]
        total = library_size(indptr, counts)
    indptr, genes, counts = tokenizer.choose(indptr, genes, counts)
    ragged = tokenizer.tokenize(indptr, genes, counts, total, draws)
    return tokenizer.finish(ragged, draws, depths=(cells.total, total), counts=counts)


def unthinned(tokenizer: Tokenizer, cells: Cells) -> Ragged:
    """Finished tokens as at inference."""
    return whole(changed(tokenizer, "depth", thin=None), cells)


def thinned(tokenizer: Tokenizer, cells: Cells) -> tuple[I32, Array]:
    """Counts by the preset's ``[depth.thin]``."""
    rule = tokenizer.preset.depth.thin
    assert rule is not None
    ids = tokenizer.genes().gene_tokens[cells.genes]
    own = (cells.indptr, cells.counts, ids, cells.total, draws_of(cells).cell_keys("thin"))
    return thin(*own, p=rule.p, alpha=rule.alpha, beta=rule.beta, min_counts=rule.min_counts)


def comparisons(tokenizers: dict[str, Tokenizer], cells: Cells) -> dict[str, tuple[Run, Run]]:
    """Plain code and ours, by name."""
    X = sp.csr_matrix(
        (cells.counts.astype(np.float32), cells.genes, cells.indptr.astype(np.int32)),
        (len(cells.total), len(cells.feature_ids)),
    )
    rng, blocks = np.random.default_rng(0), cells.blocks()

    def ranks(function: Callable[..., Any]) -> Callable[[Tokenizer], Any]:
        return lambda own: function(X, cells.total, own.fitted.medians, own.genes().gene_tokens)

    def bins(rng: np.random.Generator | None) -> Callable[[Tokenizer], Any]:
        return lambda own: plain.scgpt_bins(X, own.preset.value.n_bins, rng)

    def levels(own: Tokenizer) -> Any:
        return plain.lingshu_levels(X, own.preset.value.level_starts, own.preset.value.level_steps)

    def thin_plainly(own: Tokenizer) -> Any:
        return plain.thinned(X, rng=rng, **dataclasses.asdict(own.preset.depth.thin))

    table: list[tuple[str, str, Callable[[Tokenizer], Any], Callable[[Tokenizer, Cells], Any]]] = [
        ("geneformer ranks, as written", "geneformer-v2", ranks(plain.geneformer_as_written), tokenize),
        ("geneformer ranks, NumPy", "geneformer-v2", ranks(plain.geneformer_numpy), tokenize),
        ("scgpt bins, random ties", "scgpt", bins(rng), random_bins),
        ("scgpt bins, upper ties", "scgpt", bins(None), upper_bins),
        ("cell-jepa, 600 genes", "cell-jepa", lambda own: plain.cell_jepa(X, 51, 600, rng), whole),
        ("scfoundation thinning", "scfoundation", thin_plainly, thinned),
        ("scfoundation encoder", "scfoundation", lambda own: plain.scfoundation_encoder(X), unthinned),
        ("transcriptformer", "transcriptformer", lambda own: plain.transcriptformer(X, 30, 2047, rng), whole),
        ("lingshu-cell, all genes", "lingshu-cell", levels, whole),
    ]
    return {
        name: (
            lambda f=plainly, t=tokenizers[preset]: f(t),
            lambda f=ours, t=tokenizers[preset]: [f(t, b) for b in blocks],
        )
        for name, preset, plainly, ours in table
        if preset in tokenizers
    }


def seconds_of(run: Run, least: float) -> float:
    """CPU seconds of one run: the mean over as many as take `least` seconds."""
    begin, n = time.process_time(), 0
    while (spent := time.process_time() - begin) < least or n == 0:
        run()
        n += 1
    return spent / n


def against_plain(pairs: dict[str, tuple[Run, Run]], n_cells: int, rounds: int, least: float) -> list[dict[str, Any]]:
    """Alternating runs of both."""
    rows = []
    for name, (plainly, ours) in pairs.items():
        plainly(), ours()  # compiles
        runs = [(seconds_of(plainly, least), seconds_of(ours, least)) for _ in range(rounds)]
        slow, fast = (statistics.median(side) for side in zip(*runs, strict=True))
        ratio = statistics.median(a / b for a, b in runs)
        rows.append(
            {"name": name, "plain": round(n_cells / slow), "ours": round(n_cells / fast), "ratio": round(ratio, 1)}
        )
    return rows


def presets(tokenizers: dict[str, Tokenizer], cells: Cells, rounds: int, least: float) -> list[dict[str, Any]]:
    """Whole tokenizers against a copy of the bytes that go in and come out."""
    rows = []
    blocks = cells.blocks()
    for name, tokenizer in tokenizers.items():
        done = [whole(tokenizer, block) for block in blocks]
        n_in = sum(part.nbytes for part in (cells.indptr, cells.genes, cells.counts, cells.total))
        n_out = sum(
            part.indptr.nbytes + part.token_ids.nbytes + (0 if part.values is None else part.values.nbytes)
            for part in done
        )
        source, target = np.ones(n_in + n_out, np.uint8), np.zeros(n_in + n_out, np.uint8)
        runs = [
            (
                seconds_of(lambda t=tokenizer: [whole(t, block) for block in blocks], least),
                seconds_of(lambda s=source, t=target: np.copyto(t, s), least / 4),
            )
            for _ in range(rounds)
        ]
        rows.append(
            {
                "name": name,
                "cells_core_s": round(len(cells.total) / statistics.median(own for own, _ in runs)),
                "tokens_a_cell": round(sum(len(part.token_ids) for part in done) / len(cells.total), 1),
                "bytes_a_cell": round((n_in + n_out) / len(cells.total)),
                "times_memcpy": round(statistics.median(own / copy for own, copy in runs), 1),
            }
        )
    return rows


def table_text(result: dict[str, Any]) -> str:
    """The result for people."""
    lines = [f"{result['cells']:,} cells of {result['genes_a_cell']:,} genes ({result['set']}), one core, cells/s", ""]
    lines.append(f"{'against plain code':<28}{'plain':>10}{'ours':>12}{'ratio':>8}")
    for row in result["against_plain"]:
        lines.append(f"{row['name']:<28}{row['plain']:>10,}{row['ours']:>12,}{row['ratio']:>7}×")
    lines += ["", f"{'preset':<28}{'cells/s':>10}{'tokens':>12}{'bytes':>8}{'memcpy':>9}"]
    for row in result["presets"]:
        numbers = f"{row['cells_core_s']:>10,}{row['tokens_a_cell']:>12,}{row['bytes_a_cell']:>8,}"
        lines.append(f"{row['name']:<28}{numbers}{row['times_memcpy']:>8}×")
    lines += [f"{name:<28}skipped: {reason}" for name, reason in result["skipped"].items()]
    return "\n".join(lines)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Both tables."""
    name, cells = read_cells(arguments.h5ad, arguments.cells)
    found = {preset: fitted(preset, cells) for preset in preset_names()}
    tokenizers = {preset: own for preset, own in found.items() if isinstance(own, Tokenizer)}
    skipped = {preset: own for preset, own in found.items() if isinstance(own, str)}
    variants = (
        {"scgpt, random ties": changed(tokenizers["scgpt"], "value", ties="random")} if "scgpt" in tokenizers else {}
    )
    n_cells = len(cells.total)
    return {
        "set": name,
        "cells": n_cells,
        "genes_a_cell": round(len(cells.genes) / n_cells, 1),
        "block": BLOCK,
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "against_plain": against_plain(comparisons(tokenizers, cells), n_cells, arguments.rounds, arguments.seconds),
        "presets": presets(tokenizers | variants, cells, arguments.rounds, arguments.seconds),
        "skipped": skipped,
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = str(SHARED) if SHARED.exists() else None
    parser.add_argument("--h5ad", default=default, help=f"cells; default: {SHARED}, else synthetic ones")
    parser.add_argument("--cells", type=int, default=2_000, help="number of synthetic cells")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="least time of a run")
    parser.add_argument("--out", help="folder for bench_tokenizers.json")
    arguments = parser.parse_args(argv)
    result = run(arguments)
    write_result("bench_tokenizers", result, arguments.out)
    print(table_text(result), file=sys.stderr)


if __name__ == "__main__":
    main()
