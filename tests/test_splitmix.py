import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdata._splitmix import PURPOSES, key_of_text, keys, mix, permutation, splitmix64, stream

U64 = st.integers(0, 2**64 - 1)


def test_splitmix64_is_the_published_finalizer():
    # The first outputs of SplitMix64 seeded with 0, 1 and 1234567 (Vigna's splitmix64.c).
    seeds = np.array([0, 1, 1234567], np.uint64)
    assert [hex(x) for x in splitmix64(seeds).tolist()] == [
        "0xe220a8397b1dcdaf",
        "0x910a2dec89025cc1",
        "0x599ed017fb08fc85",
    ]
    second = np.array([0x9E3779B97F4A7C15], np.uint64)
    assert hex(splitmix64(second)[0]) == "0x6e789e6aa1b965f4"


@given(U64)
def test_mix_is_splitmix64_of_one_integer(value):
    assert mix(value) == int(splitmix64(np.array([value], np.uint64))[0])


def _unmix(z: int) -> int:
    mask = 2**64 - 1
    z ^= (z >> 31) ^ (z >> 62)
    z = z * pow(0x94D049BB133111EB, -1, 2**64) & mask
    z ^= (z >> 27) ^ (z >> 54)
    z = z * pow(0xBF58476D1CE4E5B9, -1, 2**64) & mask
    z ^= (z >> 30) ^ (z >> 60)
    return (z - 0x9E3779B97F4A7C15) & mask


@given(U64)
def test_mix_has_an_inverse(value):
    assert _unmix(mix(value)) == value


# These numbers are part of the format: sets that were built, and runs that are to be resumed, depend on
# them. A change here means another order of every set; do not edit them to make a test pass.
GOLDEN_STREAMS = [
    ((0, "order"), 0x82A669CABC948E24),
    ((0, "split"), 0xAC4F6BFABD81A050),
    ((7, "blocks", 3), 0x685AA3231642144E),
    ((7, "window", 3, 1, 2), 0x8C76FEC996DD779F),
    ((-1, "cut", 0), 0x8042BDEEB5F40425),
    ((2**64 + 5, "ties", 1), 0x4BAFFDB7F3E6C40B),
    ((0, "mask", -1), 0x82C245FC0025A98D),
    ((0, "synthetic"), 0x7509B1A3956CFA93),
]


@pytest.mark.parametrize(("path", "number"), GOLDEN_STREAMS)
def test_streams_never_change(path, number):
    assert stream(*path) == number


def test_orders_never_change():
    assert np.argsort(keys(np.arange(8), stream(0, "order"))).tolist() == [4, 0, 7, 6, 2, 1, 5, 3]
    assert permutation(12, stream(3, "blocks", 0)).tolist() == [9, 4, 8, 1, 5, 2, 11, 6, 10, 3, 0, 7]
    assert key_of_text("donor-1", stream(0, "split")) == 0x8BEF75C19E35EA9


def test_purposes_never_change():
    assert PURPOSES == {
        "order": 1,
        "split": 2,
        "blocks": 3,
        "window": 4,
        "cut": 5,
        "ties": 6,
        "mask": 7,
        "synthetic": 8,
        "thin": 9,
        "permute": 10,
        "fill": 11,
        "weighted": 12,
        "limit": 13,
        "duplicate": 14,
        "replace": 15,
        "rate": 16,
        "time": 17,
        "draws": 18,
        "mix": 19,
        "lengths": 20,
        "compared": 21,
        "control": 22,
    }


def test_no_two_streams_meet():
    # seeds, purposes and paths of every length, seeds that are numbers of purposes among them
    streams = [
        stream(seed, purpose, *path)
        for seed in range(-1, 10)
        for purpose in PURPOSES
        for length in range(4)
        for path in itertools.product((0, 1, 5), repeat=length)
    ]
    assert len(set(streams)) == len(streams)
