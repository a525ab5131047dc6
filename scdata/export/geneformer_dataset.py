"""A folder of the `datasets` library with ``input_ids`` and ``length``, as Geneformer's tokenizer writes it.

Format: ctheodoris/Geneformer, ``geneformer/tokenizer.py`` (``create_dataset``): ``input_ids`` with the special tokens,
``length``, and obs columns. Read by ``datasets.load_from_disk``.
"""

import tempfile
import uuid
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from scdata._optional import need
from scdata.export.cells import Exported, beside
from scdata.shard.cells import reserved_name
from scdata.shard.export_facts import ORGANISM, organism_by_dataset

WHAT, TOKENS = (
    "a folder for datasets.load_from_disk with input_ids, length and obs, as Geneformer's trainers read it",
    True,
)

_TAKEN = ("input_ids", "length", "split")


def write(cells: Exported, out: Path, advance: Any) -> None:
    """Cells in stored order, which is a random one.

    Raises
    ------
    TokenizerError
        If the set's tokens, or those asked for, are no ranks.
    """
    datasets = need("datasets", "write a folder of datasets")
    from scdata._errors import TokenizerError
    from scdata.batch.dataset import ShardDataset

    obs = [reserved_name(column["name"]) for column in cells.shards.manifest["obs"]]
    organisms = organism_by_dataset(cells.shards)
    # text columns are codes in batches
    loaders = {}
    for split in cells.full_splits:
        options: dict[str, Any] = {
            "split": split,
            "output": "packed",
            "shuffle": False,
            "batch_size": 1024,
            "columns": tuple(obs),
        }
        loaders[split] = ShardDataset(cells.path, tokenizer=cells.tokenizer, objective=None, **options)
    for loader in loaders.values():
        if loader.tokenizer.preset.value.kind != "rank":
            raise TokenizerError(
                f"{loader.tokenizer.name!r} has no ranks, which Geneformer's trainers read: give --tokenizer geneformer-v2, or "
                "geneformer-v2+fit for the set's own genes and medians"
            )

    def rows() -> Iterator[dict[str, Any]]:
        for split, loader in loaders.items():
            categories = loader.categories
            for batch in loader:
                ids, ends = batch["token_ids"].tolist(), batch["cu_seqlens"].tolist()
                columns = {
                    beside(name, _TAKEN): _plain(batch[name], categories.get(name)) for name in ("dataset", *obs)
                }
                if organisms:
                    columns[ORGANISM] = [organisms[name] or None for name in columns["dataset"]]
                cell_id = batch["cell_id"].tolist()
                for i, (start, stop) in enumerate(pairwise(ends)):
                    own = {name: values[i] for name, values in columns.items()}
                    yield {
                        "input_ids": ids[start:stop],
                        "length": stop - start,
                        "cell_id": cell_id[i],
                        "split": split,
                        **own,
                    }
                advance(len(cell_id))

    # the library writes once for its cache and once more for the folder
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as cache:
        datasets.disable_progress_bars()
        # a name of our own: else the library serializes the generator to make one
        name = f"scdata-{cells.shards.manifest['content_hash'][:16]}-{uuid.uuid4().hex[:8]}"
        try:
            made = datasets.Dataset.from_generator(rows, cache_dir=cache, fingerprint=name)
        except datasets.exceptions.DatasetGenerationError as error:
            # what went wrong, not that something did
            raise error.__cause__ or error from None
        made.save_to_disk(str(out))
    cells.write_facts(out, _TAKEN)


def _plain(found: Any, known: list[str] | None) -> list[Any]:
    """Values of an obs column, text as text, null as None."""
    if known is None:
        return list(found.tolist())
    return [None if code < 0 else known[code] for code in found.tolist()]
