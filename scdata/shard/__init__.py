"""Shards: blocks of cells as bytes, tars of blocks, and the manifest that makes them a set."""

from scdata.shard.decode import decode_block, iter_cells
from scdata.shard.shard_set import ShardSet
from scdata.shard.verify import VerifyReport, verify_shards

__all__ = ["ShardSet", "VerifyReport", "decode_block", "iter_cells", "verify_shards"]
