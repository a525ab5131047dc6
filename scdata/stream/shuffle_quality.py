"""How well an epoch's order shuffles a set, beside other ways to read the same cells; from ``obs/`` and the index alone."""

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

from scdata._blocks import I64, Array
from scdata._config import nearest
from scdata._splitmix import keys, permutation, stream
from scdata.shard.cells import reserved_name
from scdata.shard.shard_set import ShardSet
from scdata.stream.obs import iter_obs
from scdata.stream.order import Order
from scdata.stream.selection import Selection, select_cells
from scdata.stream.shuffle_measures import batch_entropies, expected_entropy, ratio_to_chance
from scdata.stream.weights import value_codes

_MOST_LABELS = 1000  # of a column that is chosen: one with a value a cell says nothing of a batch
_WHOLE, _BLOCKS, _BUFFER = range(3)  # draws of the orders that are compared


@dataclass(frozen=True)
class OrderQuality:
    """What was measured of one way to order the cells. Ratios: 1 is what chance gives.

    Parameters
    ----------
    order
        Its name.
    entropy, entropy_p5
        Entropy of the labels of a batch over that of a uniform draw of as many cells: mean and 5th percentile.
    pairs
        How often two cells of a batch share one in the next epoch too, over chance.
    neighbours
        How often two cells of a block, which are read together, share a batch, over chance.
    entropies
        float64: what `entropy` is the mean of, batch by batch, all epochs.
    """

    order: str
    entropy: float
    entropy_p5: float
    pairs: float
    neighbours: float
    entropies: Array

    def as_json(self) -> dict[str, Any]:
        """All but the single batches."""
        return {name: value for name, value in vars(self).items() if name != "entropies"}


@dataclass(frozen=True)
class ShuffleQuality:
    """What `shuffle_quality` found.

    Parameters
    ----------
    label
        The obs column.
    n_labels, n_cells, batch_size, epochs
        Its values; cells of the split; what was asked for.
    uniform_entropy
        Mean entropy of a uniform draw of `batch_size` cells, in nats.
    orders
        The loader's own order first.
    """

    label: str
    n_labels: int
    n_cells: int
    batch_size: int
    epochs: int
    uniform_entropy: float
    orders: tuple[OrderQuality, ...]

    def as_json(self) -> dict[str, Any]:
        """All of it, in plain values."""
        return {**vars(self), "orders": [one.as_json() for one in self.orders]}


def shuffle_quality(
    path: str | PathLike[str],
    *,
    split: str = "train",
    label: str | None = None,
    batch_size: int = 64,
    epochs: int = 3,
    seed: int = 0,
    lanes: int = 16,
    window: int = 16384,
) -> ShuffleQuality:
    """How well `ShardDataset` shuffles a set, beside other ways to read the same cells.

    No shard is read: the order of an epoch is a function of the index, labels come from ``obs/``. About 100 bytes of memory
    a cell. The other ways: a full permutation; the set in its stored order, and its blocks at random through a shuffle buffer
    of `window` cells, as readers of WebDataset do it; the same two in the order of the sources, before the build shuffled them.

    Parameters
    ----------
    path
        The set, a folder or an address.
    split
        Which cells.
    label
        The obs column whose values should be mixed (``"obs.NAME"`` where NAME is reserved). None: ``dataset``, or if
        there is but one, the obs column of at most 1,000 values that has the largest entropy.
    batch_size
        Cells of a batch, of all ranks together.
    epochs
        How many, at least 2.
    seed, lanes, window
        As `ShardDataset` takes them.

    Raises
    ------
    ValueError
        If an argument is out of range, or the label has but one value.
    LayerNotFoundError
        If there is no such obs column.

    Examples
    --------
    >>> import scdata, tempfile
    >>> out = tempfile.mkdtemp() + "/set"
    >>> _ = scdata.build_shards("synthetic:cells=3000,genes=50", out)
    >>> found = shuffle_quality(out)
    >>> found.label, found.orders[0].order
    ('dataset', 'scdata')
    """
    shards = ShardSet(path if isinstance(path, str) else str(path))
    selection = select_cells(shards, split, None, None)
    n = int(selection.starts[-1])
    least = {"batch_size": (batch_size, 2), "epochs": (epochs, 2), "lanes": (lanes, 1), "window": (window, 1)}
    for name, (value, low) in least.items():
        if value < low:
            raise ValueError(f"{name} = {value}: at least {low} is needed")
    if batch_size > n:
        raise ValueError(f"batch_size = {batch_size}: split {split!r} of {path} has {n} cells")
    label, codes = _label(shards, split, selection, label)
    n_labels = np.bincount(codes)
    expected = expected_entropy(n_labels, batch_size)

    number = np.arange(n)
    stored = np.repeat(np.arange(len(selection.n_cells)), selection.n_cells)
    parts = [table["cell_id"].to_numpy() for table in iter_obs(shards, split, ["cell_id"], "shuffle_quality")]
    by_source = np.argsort(np.concatenate(parts))
    # the sources as if they were cut in blocks of the same sizes
    in_source = np.empty(n, np.int64)
    in_source[by_source] = stored

    def own(epoch: int) -> I64:
        order = Order(selection.n_cells, seed=seed, epoch=epoch, lanes=lanes, window=window)
        places = order.cells(number)
        return selection.starts[places.block] + places.row

    def buffered(cells: I64) -> Callable[[int], I64]:
        def of(epoch: int) -> I64:
            blocks = permutation(len(selection.n_cells), stream(seed, "compared", epoch, _BLOCKS))
            read = np.concatenate([cells[selection.starts[b] : selection.starts[b + 1]] for b in blocks.tolist()])
            return through_buffer(read, window, stream(seed, "compared", epoch, _BUFFER))

        return of

    orders: list[tuple[str, Callable[[int], I64], I64]] = [
        ("scdata", own, stored),
        ("full permutation", lambda epoch: permutation(n, stream(seed, "compared", epoch, _WHOLE)), stored),
        ("set, buffer", buffered(number), stored),
        ("set, sequential", lambda epoch: number, stored),
        ("sources, buffer", buffered(by_source), in_source),
        ("sources, sequential", lambda epoch: by_source, in_source),
    ]
    found = [_measured(*one, codes, batch_size, epochs, expected) for one in orders]
    return ShuffleQuality(label, int((n_labels > 0).sum()), n, batch_size, epochs, expected, tuple(found))


def _measured(
    name: str,
    order: Callable[[int], I64],
    block: I64,
    codes: Array,
    batch_size: int,
    epochs: int,
    expected: float,
) -> OrderQuality:
    entropies, pairs, neighbours = [], [], []
    before: I64 | None = None
    for epoch in range(epochs):
        cells = order(epoch)
        batch = np.empty(len(cells), np.int64)
        batch[cells] = np.arange(len(cells)) // batch_size
        entropies.append(batch_entropies(codes[cells], batch_size) / expected)
        neighbours.append(ratio_to_chance(block, batch))
        if before is not None:
            pairs.append(ratio_to_chance(before, batch))
        before = batch
    every = np.concatenate(entropies)
    return OrderQuality(
        name,
        float(every.mean()),
        float(np.quantile(every, 0.05)),
        float(np.mean(pairs)),
        float(np.mean(neighbours)),
        every,
    )


def through_buffer(cells: I64, size: int, stream_id: int) -> I64:
    """The order in which cells leave a shuffle buffer: one at random goes, the next takes its place.

    Parameters
    ----------
    cells
        int64 (N,), in the order of their arrival.
    size
        Cells that the buffer holds.
    stream_id
        Of the draws.
    """
    size = min(size, len(cells))
    buffer, out = cells[:size].copy(), np.empty_like(cells)
    n_drawn = len(cells) - size
    slots = keys(np.arange(n_drawn), stream_id) % np.uint64(size)
    for i, slot in enumerate(slots.tolist()):
        out[i] = buffer[slot]
        buffer[slot] = cells[size + i]
    out[n_drawn:] = buffer[permutation(size, stream_id)]
    return out


def _label(shards: ShardSet, split: str, selection: Selection, label: str | None) -> tuple[str, Array]:
    """The column of labels, and each cell's."""
    if label is not None:
        codes, values = value_codes(shards, split, selection, label)
        if len(values) < 2:
            raise ValueError(
                f"label {label!r} has one value in split {split!r} of {shards.path}: name another column that is there: "
                f"{nearest(label, _columns(shards))}"
            )
        return label, codes
    best, most = None, 0.0
    for name in _columns(shards):
        codes, _ = value_codes(shards, split, selection, name)
        share = np.bincount(codes) / len(codes)
        entropy = -float((share[share > 0] * np.log(share[share > 0])).sum())
        if entropy > most:
            best, most = (name, codes), entropy
        if best is not None and name == "dataset":
            break
    if best is None:
        raise ValueError(
            f"split {split!r} of {shards.path} has no obs column of strings with 2 to {_MOST_LABELS:,} values: name one by "
            "label, --label"
        )
    return best


def _columns(shards: ShardSet) -> list[str]:
    """Columns of labels that may be chosen: `dataset` first."""
    return ["dataset"] + [
        reserved_name(name) for name, values in shards.categories.items() if 2 <= len(values) <= _MOST_LABELS
    ]
