"""Stream: the order of an epoch, and the cells it names, read from shards."""

from scdata.stream.blocks import BlockReader
from scdata.stream.gather import GatheredCells, gather_cells
from scdata.stream.order import Order
from scdata.stream.state import State

__all__ = ["BlockReader", "GatheredCells", "Order", "State", "gather_cells"]
