"""Counter-based random numbers: every draw is a pure function of integers.

A draw is ``splitmix64(counter + stream)``, where the stream is a 64-bit number made of the seed, a purpose and whatever
else the draw belongs to (an epoch, a lane, a cell). Nothing here keeps a state, so workers, ranks, devices and library
versions never change a result.

The mixing function is the finalizer of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014). It is a bijection of the 64-bit integers: different counters of one stream never collide.
"""

import numpy as np
import numpy.typing as npt

from scdata import _cuda
from scdata._backend import backend

U64 = npt.NDArray[np.uint64]

# One number for each use of chance. Numbers are part of the format: add new ones, never change or reuse one.
PURPOSES = {
    "order": 1,  # place of a cell in the global order of a set
    "split": 2,  # which split a cell or a group falls in
    "blocks": 3,  # permutation of blocks in an epoch
    "window": 4,  # permutation of a lane's window
    "cut": 5,  # which genes of an over-long cell stay
    "ties": 6,  # bin of a value on a tie of quantile edges
    "mask": 7,  # which tokens an objective hides
    "synthetic": 8,  # counts of the synthetic source
    "thin": 9,  # which molecules of a cell stay, and how many
    "permute": 10,  # order of a cell's tokens
    "fill": 11,  # which unexpressed genes stand beside the expressed ones
    "weighted": 12,  # which genes of an over-long cell stay, by their counts
    "limit": 13,  # which cells a smaller corpus holds
    "duplicate": 14,  # hash of a cell's genes and counts
    "replace": 15,  # what stands in place of a token that an objective hides
    "rate": 16,  # which of its rates an objective takes for a batch
    "time": 17,  # how far along a diffusion a cell is
    "draws": 18,  # how often a window emits its cells, by weight, and in which order
    "mix": 19,  # which set of a mix a position is of
    "lengths": 20,  # which batch of a group of like lengths comes when
    "compared": 21,  # orders that a shuffle is compared with
    "control": 22,  # which control a cell is paired with
}

_GAMMA = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
_THREADS, _MOST_BLOCKS = 256, 4096  # on a device


def splitmix64(counter: U64) -> U64:
    """Mix 64-bit integers, element by element; a bijection.

    Parameters
    ----------
    counter
        uint64, any shape; on the CPU or a device.

    Returns
    -------
    uint64 array of the same shape, where `counter` is.

    Examples
    --------
    >>> [hex(int(x)) for x in splitmix64(np.arange(2, dtype=np.uint64))]
    ['0xe220a8397b1dcdaf', '0x910a2dec89025cc1']
    """
    xp = backend(counter)
    z = xp.asarray(counter, dtype=np.uint64)
    if xp is not np:
        out: U64 = xp.empty(z.shape, np.uint64)
        blocks = min(-(-z.size // _THREADS), _MOST_BLOCKS)
        # one launch: this would be nine of CuPy's functions, and random numbers are most of what some batches take
        arguments = (_cuda.laid_out(z, np.uint64), out, np.int64(z.size))
        _cuda.launch(xp, "_splitmix.cu", "mix_counters", blocks, _THREADS, arguments)
        return out
    with np.errstate(over="ignore"):
        z = z + np.uint64(_GAMMA)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def mix(value: int) -> int:
    """`splitmix64` of one Python integer (taken modulo 2**64)."""
    z = (value + _GAMMA) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def stream(seed: int, purpose: str, *path: int) -> int:
    """A 64-bit stream number for (seed, purpose, path…).

    Parameters
    ----------
    seed
        Any integer; its value modulo 2**64 counts.
    purpose
        A name in `PURPOSES`.
    path
        What the draw belongs to, in order: an epoch, a lane, a window number.
    """
    z = mix(seed & _MASK)
    for part in (PURPOSES[purpose], *path):
        # mixed twice, so that seed and path, or a path and a longer one, never trade places
        z = mix((mix(z) + mix(part & _MASK)) & _MASK)
    return z


def keys(counter: npt.ArrayLike, stream_id: int) -> U64:
    """Random 64-bit keys of counters in one stream: ``splitmix64(counter + stream_id)``, distinct for distinct counters."""
    with np.errstate(over="ignore"):
        return splitmix64(backend(counter).asarray(counter).astype(np.uint64) + np.uint64(stream_id))


def key_of_text(text: str, stream_id: int) -> int:
    """A 64-bit key of a string in one stream: xxh3-64 of its UTF-8 bytes as the counter."""
    import xxhash

    return mix((xxhash.xxh3_64_intdigest(text.encode()) + stream_id) & _MASK)


def permutation(n: int, stream_id: int) -> npt.NDArray[np.int64]:
    """The permutation of ``range(n)`` that sorts the keys of its elements."""
    return np.argsort(keys(np.arange(n, dtype=np.uint64), stream_id)).astype(np.int64, copy=False)
