"""Compiled twins of `rank_order_numpy` and `rank_tokens_numpy`.

A row is sorted by 16 bits of its values in two passes of a radix sort, over keys that also hold the place in the row. What
these bits leave undecided, a few neighbours, is put right by an insertion sort that compares the full values.
"""

import numba
import numpy as np

_BUCKETS = 256  # of a pass
_PLACE = np.uint32(0xFFFF)
_LONG = 1 << 16  # rows with more entries have places that do not fit a key
_MOST_MOVES = 16  # of the insertion sort, per entry; rows that need more are sorted by merging, as long ones are


@numba.njit(nogil=True, cache=True)
def _pass(words, shift, first, out):  # type: ignore[no-untyped-def]
    """Move words to the buckets of their 8 bits above `shift`; `first` holds how many each bucket gets."""
    start = np.uint32(0)
    for bucket in range(_BUCKETS):
        here = first[bucket]
        first[bucket] = start
        start += here
    for i in range(len(words)):
        bucket = (words[i] >> shift) & np.uint32(_BUCKETS - 1)
        place = first[bucket]
        out[place] = words[i]
        first[bucket] = place + np.uint32(1)


@numba.njit(nogil=True, cache=True)
def _insertion(bits, words):  # type: ignore[no-untyped-def]
    """Sort keys that are nearly in order, stably, by value; False if they are not, and work was stopped."""
    last = bits[words[0] & _PLACE]
    moves = 0
    for i in range(1, len(bits)):
        word = words[i]
        value = bits[word & _PLACE]
        if value <= last:
            last = value
            continue
        k = i
        while k > 0 and bits[words[k - 1] & _PLACE] < value:
            words[k] = words[k - 1]
            k -= 1
        words[k] = word
        moves += i - k
        if moves > _MOST_MOVES * len(bits):
            return False
    return True


@numba.njit(nogil=True, cache=True)
def _sort_row(bits, places, spare, low, high):  # type: ignore[no-untyped-def]
    """Sort `places`, an order of the entries, by falling value of `bits`; equal values keep their order.

    `bits` are positive float64 as uint64, which sort as the numbers do; `places` and `spare` are uint32, as long; `low` and
    `high` are uint32 (256,).
    """
    n = len(bits)
    least, most = bits[0], bits[0]
    for i in range(n):
        least, most = min(least, bits[i]), max(most, bits[i])
    if n <= _LONG:
        # a key: the upper 16 bits of the distance from the largest value, then the place
        drop = np.uint64(0)
        while ((most - least) >> drop) >> np.uint64(16):
            drop += np.uint64(1)
        low[:] = 0
        high[:] = 0
        for i in range(n):
            digits = np.uint32((most - bits[places[i]]) >> drop)
            places[i] = (digits << np.uint32(16)) | places[i]
            low[digits & np.uint32(_BUCKETS - 1)] += np.uint32(1)
            high[digits >> np.uint32(8)] += np.uint32(1)
        _pass(places, np.uint32(16), low, spare)
        _pass(spare, np.uint32(24), high, places)
        sorted_ = _insertion(bits, places)
        for i in range(n):
            places[i] &= _PLACE
        if sorted_:
            return
    _merge(most - bits, places)


@numba.njit(nogil=True, cache=True)
def _merge(numbers, places):  # type: ignore[no-untyped-def]
    """Sort `places` by rising number; equal ones keep their order."""
    places[:] = places[np.argsort(numbers[places], kind="mergesort")]


@numba.njit(nogil=True, cache=True)
def _by_gene(genes, places, spare, low, high):  # type: ignore[no-untyped-def]
    """Fill `places` with the order of rising genes."""
    n, falls, largest = len(genes), 0, genes[0]
    for i in range(n):
        places[i] = i
    for i in range(1, n):
        falls += genes[i] < genes[i - 1]
        largest = max(largest, genes[i])
    if falls == 0:
        return
    if n > _LONG or largest > _PLACE:
        _merge(genes, places)
        return
    low[:] = 0
    high[:] = 0
    for i in range(n):
        gene = np.uint32(genes[i])
        places[i] |= gene << np.uint32(16)
        low[gene & np.uint32(_BUCKETS - 1)] += np.uint32(1)
        high[gene >> np.uint32(8)] += np.uint32(1)
    _pass(places, np.uint32(16), low, spare)
    _pass(spare, np.uint32(24), high, places)
    for i in range(n):
        places[i] &= _PLACE


@numba.njit(nogil=True, cache=True)
def _buffers(indptr):  # type: ignore[no-untyped-def]
    """What `_sort_row` works in: made once, since a row takes microseconds."""
    longest = 0
    for row in range(len(indptr) - 1):
        longest = max(longest, indptr[row + 1] - indptr[row])
    places, spare = np.empty(longest, np.uint32), np.empty(longest, np.uint32)
    return places, spare, np.empty(_BUCKETS, np.uint32), np.empty(_BUCKETS, np.uint32)


@numba.njit(nogil=True, cache=True)
def rank_order_jit(indptr, bits, order):  # type: ignore[no-untyped-def]
    """Fill `order`, int64 (T,), from the bits of the values, uint64 (T,)."""
    places, spare, low, high = _buffers(indptr)
    for row in range(len(indptr) - 1):
        start, stop = indptr[row], indptr[row + 1]
        n = stop - start
        if n == 0:
            continue
        for i in range(n):
            places[i] = i
        _sort_row(bits[start:stop], places[:n], spare[:n], low, high)
        for i in range(n):
            order[start + i] = start + np.int64(places[i])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def rank_tokens_jit(indptr, genes, counts, total, target_sum, medians, gene_tokens, token_ids):  # type: ignore[no-untyped-def]
    """Fill `token_ids`, (T,). The values of a cell never leave the cache."""
    places, spare, low, high = _buffers(indptr)
    values = np.empty(len(places), np.float64)
    for cell in range(len(indptr) - 1):
        start, stop = indptr[cell], indptr[cell + 1]
        n = stop - start
        if n == 0:
            continue
        own, x, out, n_counts = genes[start:stop], counts[start:stop], token_ids[start:stop], float(total[cell])
        # two loops: only the divisions can run several at a time
        for i in range(n):
            values[i] = medians[np.uint32(own[i])]
        for i in range(n):
            values[i] = x[i] / n_counts * target_sum / values[i]
        _by_gene(own, places[:n], spare[:n], low, high)
        _sort_row(values[:n].view(np.uint64), places[:n], spare[:n], low, high)
        for i in range(n):
            out[i] = gene_tokens[np.uint32(own[places[i]])]
