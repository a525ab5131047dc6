"""How to load a published set, in the words of its card."""

from collections.abc import Sequence

from scdata.shard.block import COUNTS
from scdata.shard.shard_set import ShardSet


def loading(shards: ShardSet, repo_id: str, tag: str) -> Sequence[str]:
    """The section with three ways to load it."""
    split = max(shards.splits, key=lambda name: shards.manifest["splits"][name]["n_cells"])
    is_counts = shards.encoding == COUNTS
    tokenizer = ', tokenizer="scgpt+fit"' if is_counts else ""
    gives = "token ids and values of any preset" if is_counts else "its tokens"
    of_codes = (
        ["var = pq.read_table(hf_hub_download(REPO, 'var.parquet', repo_type='dataset', revision=REVISION))",
         "token_of_code = var.sort_by('code')['token_id'].to_numpy()"] if is_counts else []
    )  # fmt: skip
    return [
        "## Load it",
        "",
        f"`{tag}` is the revision that holds exactly this set, whatever comes later.",
        "",
        f"Streamed, each cell once an epoch, resumable, as {gives} (`pip install 'scdata-engine[torch,s3]'`):",
        "",
        "```python",
        "import scdata",
        "",
        f'ds = scdata.ShardDataset("hf://datasets/{repo_id}@{tag}", split="{split}", batch_size=256{tokenizer})',
        'batch = next(iter(ds))  # batch["token_ids"], …',
        "```",
        "",
        "Downloaded once, then read from disk:",
        "",
        "```python",
        "import scdata",
        "from huggingface_hub import snapshot_download",
        "",
        f'folder = snapshot_download("{repo_id}", repo_type="dataset", revision="{tag}")',
        f'ds = scdata.ShardDataset(folder, split="{split}", batch_size=256{tokenizer})',
        "```",
        "",
        "With `datasets` (or any WebDataset reader): a sample is a block of cells, which one call decodes:",
        "",
        "```python",
        *(["import pyarrow.parquet as pq"] if is_counts else []),
        "import scdata",
        "from datasets import load_dataset",
        *(["from huggingface_hub import hf_hub_download"] if is_counts else []),
        "",
        f'REPO, REVISION = "{repo_id}", "{tag}"',
        *(line.replace("'", '"') for line in of_codes),
        f'urls = f"hf://datasets/{{REPO}}@{{REVISION}}/shards/*/{split}-*.tar"',
        'blocks = load_dataset("webdataset", data_files={"train": urls}, split="train", streaming=True)',
        "for block in blocks:",
        f'    cells = scdata.decode_block(block["arrow"]{", token_of_code" if is_counts else ""})',
        "    cells.cell_id, cells.indptr, cells.ids, cells.values  # cell i: entries indptr[i] to indptr[i + 1]",
        "```",
        "",
    ]
