"""Compiled twin of the NumPy decoder of ``gap-count-1``."""

import numba
import numpy as np


@numba.njit(nogil=True, cache=True, inline="always")
def _apply(at, a, a_end, more, m, m_end, n, most, field):  # type: ignore[no-untyped-def]
    """Add the exceptions of one cell to `field`; False if one is out of place."""
    place = np.int64(0)
    first = True
    while a < a_end:
        step = np.int64(0)
        byte = np.int64(255)
        while byte == 255:
            if a >= a_end:
                return False
            byte = np.int64(at[a])
            a += 1
            step += byte
        if step == 0 and not first:
            return False
        first = False
        place += step
        if place >= n:
            return False
        amount = np.int64(0)
        shift = 0
        byte = np.int64(0x80)
        while byte & 0x80:
            if m >= m_end or shift > 28:
                return False
            byte = np.int64(more[m])
            m += 1
            amount |= (byte & 0x7F) << shift
            shift += 7
        if amount + field[place] > most:
            return False
        field[place] += amount
    return m == m_end


@numba.njit(nogil=True, cache=True)
def decode_rows(  # type: ignore[no-untyped-def]
    gap_bits, code_at, codes, gap_at_at, gap_at, gap_more_at, gap_more, count_at_at, count_at, count_more_at, count_more,
    rows, token_of_code, out_start, ids, counts,
):  # fmt: skip
    """Decode `rows` into `ids` and `counts`; −1, or the place in `rows` of the first cell that does not decode."""
    mask = np.uint8((1 << gap_bits) - 1)
    shift = np.uint8(gap_bits)
    n_codes = len(token_of_code)
    for i in range(len(rows)):
        row = rows[i]
        begin = code_at[row]
        n = code_at[row + 1] - begin
        start = out_start[i]
        # slices with a plain loop over them are what the compiler vectorizes
        body, gaps, extra = codes[begin : begin + n], ids[start : start + n], counts[start : start + n]
        for j in range(n):
            gaps[j] = np.int32(body[j] & mask) + np.int32(1)
        for j in range(n):
            extra[j] = np.int32(body[j] >> shift) + np.int32(1)
        if not _apply(gap_at, gap_at_at[row], gap_at_at[row + 1], gap_more, gap_more_at[row], gap_more_at[row + 1],
                      n, n_codes, gaps):  # fmt: skip
            return i
        if not _apply(count_at, count_at_at[row], count_at_at[row + 1], count_more, count_more_at[row],
                      count_more_at[row + 1], n, 2147483647, extra):  # fmt: skip
            return i
        total = np.int64(0)
        for j in range(n):
            total += gaps[j]
        if total > n_codes:
            return i
        code = np.int64(-1)
        for j in range(n):
            code += gaps[j]
            gaps[j] = token_of_code[code]
    return -1
