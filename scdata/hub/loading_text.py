"""How to load a published set, in the words of its card."""

from collections.abc import Sequence

from scdata.shard.block import COUNTS
from scdata.shard.shard_set import ShardSet


def loading(shards: ShardSet, repo_id: str, tag: str) -> Sequence[str]:
    """The section with three ways to load it."""
    split = max(shards.splits, key=lambda name: shards.manifest["splits"][name]["n_cells"])
    is_counts = shards.encoding == COUNTS
    tokenizer = ', tokenizer="scgpt+fit"' if is_counts else ""
    values = 'cell["values"], ' if is_counts else ""
    gives = "token ids and values of any preset" if is_counts else "its tokens"
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
        "With `datasets` (or any WebDataset reader): a sample is a block of cells.",
        "",
        "```python",
        "import scdata",
        "from datasets import load_dataset",
        "",
        f'SET = "hf://datasets/{repo_id}@{tag}"',
        f'urls = f"{{SET}}/shards/*/{split}-*.tar"',
        'blocks = load_dataset("webdataset", data_files={"train": urls}, split="train", streaming=True)',
        "for cell in scdata.iter_cells(blocks, SET):  # or all of a block at once: scdata.decode_block(block['arrow'])",
        f'    cell["token_ids"], {values}cell["cell_id"]',
        "```",
        "",
    ]
