"""A control beside each cell: which one, by seed, epoch and cell alone."""

from collections.abc import Callable

from scdata.shard.block import StoredBlock
from scdata.stream.blocks import BlockReader
from scdata.stream.controls import Controls
from scdata.stream.gather import gather_columns
from scdata.stream.places import Places
from scdata.tokens.sequence import Draws


class Pairs:
    """Pairs cells of a set with controls; has no state that changes, so threads may share it.

    Parameters
    ----------
    controls
        Where controls stand.
    reader
        Reads them, and keeps them.
    seed
        What the draws are a function of, beside epoch and cell.
    """

    def __init__(self, controls: Controls, reader: BlockReader, seed: int) -> None:
        self._controls, self._reader, self._seed = controls, reader, seed

    def get(self, number: int) -> StoredBlock:
        """The controls of a block."""
        return self._reader.get(number)

    def places(self, places: Places, get: Callable[[int], StoredBlock], epoch: int) -> Places:
        """Where the controls of some cells stand, whose blocks `get` gives."""
        columns = gather_columns(get, places.block, places.row, self._controls.columns)
        draws = Draws(self._seed, epoch, columns["cell_id"], places.occurrence)
        found = self._controls.draw(columns, draws.cell_keys("control"))
        self._reader.expect(found.block)
        return found
