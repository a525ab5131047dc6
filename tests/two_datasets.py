"""A set of two datasets that measured different genes, and what its cells hold."""

import numpy as np

import scdata


class Mixed:
    """A set of counts of two datasets that measured different genes, fitted, and what its cells hold.

    Attributes
    ----------
    path
        The set.
    cells
        cell_id → {gene: count}.
    measured
        cell_id → names of the genes that its dataset measured.
    assays
        cell_id → assay, or None.
    sources
        (matrix, names of its columns) of each dataset; their rows, one after the other, are the cells.
    """

    def __init__(self, folder):
        self.path, self.cells, self.measured, self.assays, self.sources = folder / "set", {}, {}, {}, []
        rng = np.random.default_rng(11)
        genes = [f"ENSG{i:011d}" for i in range(160)]
        rates = rng.lognormal(0, 1.3, 160)
        files = []
        for name, n_cells, columns in (("a", 240, range(120)), ("b", 200, range(159, 39, -1))):
            depth = 10 ** rng.uniform(2, 4, n_cells)
            expected = rates[columns] * rng.gamma(2, 0.5, (n_cells, 120)) * (rng.random((n_cells, 120)) < 0.7)
            X = rng.poisson(expected / expected.sum(1, keepdims=True) * depth[:, None]).astype(np.int64)
            assays = [[None, "10x 3' v3", "Drop-seq"][i] for i in rng.integers(0, 3, n_cells)]
            files.append(folder / f"{name}.h5ad")
            self._write(files[-1], X, [genes[i] for i in columns], assays)
            own = [genes[i] for i in columns]
            for row, assay in zip(X, assays, strict=True):
                cell = len(self.cells)
                self.cells[cell] = {gene: int(x) for gene, x in zip(own, row, strict=True) if x}
                self.measured[cell], self.assays[cell] = set(own), assay
            self.sources.append((X, own))
        scdata.build_shards(files, self.path, block_size=32, shard_size=1 << 16)
        scdata.fit_set(self.path)

    @staticmethod
    def _write(path, X, genes, assays):
        import anndata
        import pandas as pd
        import scipy.sparse as sp

        obs = pd.DataFrame({"assay": pd.Categorical(assays)}, index=[str(i) for i in range(len(X))])
        obs["batch"] = [f"batch{i % 2}" for i in range(len(X))]
        anndata.AnnData(sp.csr_matrix(X, dtype=np.float32), obs=obs, var=pd.DataFrame(index=genes)).write_h5ad(path)

    def encoded(self, tokenizer):
        """cell_id → (token ids, values) of `encode`; values None for ranks."""
        import scipy.sparse as sp

        out = {}
        for X, genes in self.sources:
            block = tokenizer.encode(sp.csr_matrix(X), genes)
            for start, stop in zip(block.indptr, block.indptr[1:], strict=False):
                values = None if block.values is None else block.values[start:stop].tolist()
                out[len(out)] = block.token_ids[start:stop].tolist(), values
        return out

    def stream(self, tokenizer, output, epoch=0, **options):
        """The loader, and its batches of one epoch."""
        dataset = scdata.ShardDataset(self.path, tokenizer=tokenizer, output=output, **{"batch_size": 64, **options})
        dataset.set_epoch(epoch)
        return dataset, list(dataset)
