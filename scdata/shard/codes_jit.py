"""Compiled twin of the NumPy decoder of ``gap-count-1``."""

import numba
import numpy as np

from scdata.shard.memory_jit import byte_at, fetch_early, int32_at, pointer

_LINE = 64  # bytes that a processor fetches at once


@numba.njit(nogil=True, cache=True, inline="always")
def _ends(table, block, column, row):  # type: ignore[no-untyped-def]
    """Addresses of the first byte of a row of a column and of the first one behind it."""
    offsets, data = table[block, 2 * column], table[block, 2 * column + 1]
    return data + int32_at(offsets + 4 * row), data + int32_at(offsets + 4 * row + 4)


@numba.njit(nogil=True, cache=True, inline="always")
def _fetch(table, block, row):  # type: ignore[no-untyped-def]
    """Ask for all bytes of a cell: they are somewhere in a block of megabytes."""
    for column in range(1, 5):
        fetch_early(_ends(table, block, column, row)[0])
    at, end = _ends(table, block, 0, row)
    while at < end:
        fetch_early(at)
        at += _LINE


@numba.njit(nogil=True, cache=True, inline="always")
def _apply(places, amounts, n, most, field):  # type: ignore[no-untyped-def]
    """Add the exceptions of one cell to `field`; returns their sum, or −1 if one is out of place."""
    a, a_end = places
    m, m_end = amounts
    place, last, total = np.int64(0), np.int64(-1), np.int64(0)
    while a < a_end:
        byte = byte_at(a)
        a += 1
        place += byte
        while byte == 255:
            if a >= a_end:
                return np.int64(-1)
            byte = byte_at(a)
            a += 1
            place += byte
        if place >= n or place == last or m >= m_end:
            return np.int64(-1)
        last = place
        amount = byte_at(m)
        m += 1
        if amount >= 0x80:
            amount &= 0x7F
            shift, byte = 7, np.int64(0x80)
            while byte & 0x80:
                if m >= m_end or shift > 28:
                    return np.int64(-1)
                byte = byte_at(m)
                m += 1
                amount |= (byte & 0x7F) << shift
                shift += 7
        if amount + field[np.uint64(place)] > most:
            return np.int64(-1)
        field[np.uint64(place)] += np.int32(amount)
        total += amount
    return total if m == m_end else np.int64(-1)


@numba.njit(nogil=True, cache=True)
def decode_cells_jit(table, gap_bits, block, row, token_of_code, out_start, ids, counts):  # type: ignore[no-untyped-def]
    """Decode cells into `ids` and `counts`; −1, or the place of the first cell that does not decode.

    `table` has a row a block: the addresses of offsets (int32) and data of its five columns.
    """
    n_cells, n_codes = len(row), len(token_of_code)
    for i in range(n_cells):
        if i + 1 < n_cells:
            _fetch(table, block[i + 1], row[i + 1])
        own, cell, start = block[i], row[i], out_start[i]
        begin, end = _ends(table, own, 0, cell)
        n = end - begin
        # slices with a plain loop over them are what the compiler vectorizes
        body, gaps, extra = (
            numba.carray(pointer(begin), (n,), np.uint8),
            ids[start : start + n],
            counts[start : start + n],
        )
        mask, shift = np.uint8((1 << gap_bits[own]) - 1), np.uint8(gap_bits[own])
        last = np.int64(n) - 1
        for j in range(n):
            gap = body[j] & mask
            gaps[j] = np.int32(gap) + np.int32(1)
            last += gap
        for j in range(n):
            extra[j] = np.int32(body[j] >> shift) + np.int32(1)
        more = _apply(_ends(table, own, 1, cell), _ends(table, own, 2, cell), n, n_codes, gaps)
        if more < 0 or last + more >= n_codes:
            return i
        if _apply(_ends(table, own, 3, cell), _ends(table, own, 4, cell), n, 2147483647, extra) < 0:
            return i
        # unsigned, so that no index is taken for one from the end; the last code is known to be in the table
        code = np.uint64(0)
        for j in range(n):
            code += np.uint64(gaps[j])
            gaps[j] = token_of_code[code - np.uint64(1)]
    return -1
