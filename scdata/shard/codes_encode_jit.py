"""Compiled twin of the NumPy encoder of ``gap-count-1``."""

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
def count_exceptions_jit(indptr, codes, counts):  # type: ignore[no-untyped-def]
    """int64 (2, 4): how many gaps, and how many counts, are exceptions with 4, 5, 6 and 7 bits of gap."""
    found = np.zeros((2, 4), np.int64)
    for row in range(len(indptr) - 1):
        own, extra = codes[indptr[row] : indptr[row + 1]], counts[indptr[row] : indptr[row + 1]]
        for k in range(4):
            # one sum of comparisons after the other is what the compiler vectorizes
            most_gap, most_count = np.int32(16 << k), np.int32(16 >> k)
            gaps, more = np.int32(0), np.int32(0)
            for i in range(1, len(own)):
                gaps += np.int32(own[i] - own[i - 1] > most_gap)
            for i in range(len(own)):
                more += np.int32(extra[i] > most_count)
            found[0, k] += gaps + (len(own) > 0 and own[0] >= most_gap)
            found[1, k] += more
    return found


@numba.njit(nogil=True, cache=True, inline="always")
def _write(at, a, more, m, step, amount):  # type: ignore[no-untyped-def]
    """One exception: its step in bytes that add up, its amount in LEB128; returns the new ends."""
    while step >= 255:
        at[a] = 255
        a += 1
        step -= 255
    at[a] = step
    a += 1
    while amount >= 128:
        more[m] = (amount & 0x7F) | 0x80
        m += 1
        amount >>= 7
    more[m] = amount
    return a, m + 1


@numba.njit(nogil=True, cache=True)
def encode_rows_jit(  # type: ignore[no-untyped-def]
    gap_bits, indptr, codes, counts, body, gap_at_at, gap_at, gap_more_at, gap_more, count_at_at, count_at, count_more_at,
    count_more,
):  # fmt: skip
    """Fill `body`, and of each list of exceptions its offsets and as many bytes as they say."""
    gap_full, count_full = np.int32((1 << gap_bits) - 1), np.int32((1 << (8 - gap_bits)) - 1)
    shift = np.int32(gap_bits)
    ga, gm, ca, cm = 0, 0, 0, 0
    for row in range(len(indptr) - 1):
        own, extra = codes[indptr[row] : indptr[row + 1]], counts[indptr[row] : indptr[row + 1]]
        to = body[indptr[row] : indptr[row + 1]]
        for i in range(1, len(own)):
            to[i] = min(own[i] - own[i - 1] - np.int32(1), gap_full) | min(extra[i] - np.int32(1), count_full) << shift
        if len(own):
            to[0] = min(own[0], gap_full) | min(extra[0] - np.int32(1), count_full) << shift
        last_gap, last_count = 0, 0
        for i in range(len(own)):
            # a full field is an exception only if something remains
            if to[i] & gap_full == gap_full:
                gap = np.int64(own[i]) - (np.int64(own[i - 1]) if i else -1) - 1
                if gap > gap_full:
                    ga, gm = _write(gap_at, ga, gap_more, gm, i - last_gap, gap - gap_full)
                    last_gap = i
            if to[i] >> gap_bits == count_full and extra[i] - 1 > count_full:
                ca, cm = _write(count_at, ca, count_more, cm, i - last_count, np.int64(extra[i]) - 1 - count_full)
                last_count = i
        gap_at_at[row + 1], gap_more_at[row + 1] = ga, gm
        count_at_at[row + 1], count_more_at[row + 1] = ca, cm
