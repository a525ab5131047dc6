"""Which genes each dataset of an export measured: a bit a gene and dataset, and the names of both."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scdata._blocks import I32

MEASURED, BITS, GENE = "measured", "bits", "gene"
BITS_FILE = "measured.npy"
MOST_BITS = 1 << 28  # bytes; 30,000 datasets of 60,000 genes


@dataclass(frozen=True, eq=False)
class MeasuredGenes:
    """Of each dataset that did not measure all genes, those that it did. Other datasets measured all.

    Parameters
    ----------
    datasets
        D distinct names.
    genes
        G distinct names, in the order of the bits.
    bits
        uint8 (D, ⌈G / 8⌉): bit i, the least significant first, of a row tells of gene i.

    Raises
    ------
    ValueError
        If they are not of these shapes, or a name stands twice.
    """

    datasets: tuple[str, ...]
    genes: pa.StringArray
    bits: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        expected = (len(self.datasets), -(-len(self.genes) // 8))
        if self.bits.dtype != np.uint8 or self.bits.shape != expected:
            raise ValueError(
                f"the bits are {self.bits.dtype} {self.bits.shape}, expected uint8 {expected}: a row a dataset, a bit a gene"
            )
        if len(set(self.datasets)) < len(self.datasets) or len(self.genes.unique()) < len(self.genes):
            raise ValueError("a dataset or a gene is named twice")

    def mask(self, var: pa.Table, datasets: Sequence[str]) -> npt.NDArray[np.bool_] | None:
        """Which genes of a source each of its datasets measured; genes and datasets that are not known here count as measured.

        Parameters
        ----------
        var
            Of the source. The column of strings that has most of the genes names them, the first one if all have as many.
        datasets
            Of the source.

        Returns
        -------
        bool (len(datasets), len(var)), or None
            None if no gene of the source is known here.
        """
        places = [
            pc.index_in(column, value_set=self.genes)
            for column, field in zip(var.columns, var.schema, strict=True)
            if pa.types.is_string(field.type)
        ]
        best = max(places, key=lambda found: len(found) - found.null_count)
        place: I32 = np.asarray(pc.fill_null(best, -1).to_numpy(), np.int32)
        known = place >= 0
        if not known.any():
            return None
        out = np.ones((len(datasets), len(var)), np.bool_)
        row_of = {name: row for row, name in enumerate(self.datasets)}
        for number, name in enumerate(datasets):
            if name in row_of:
                own = np.unpackbits(self.bits[row_of[name]], count=len(self.genes), bitorder="little")
                out[number, known] = own[place[known]]
        return out


def read_bits(data: bytes, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """The array of a file in NumPy's format, if it is what is expected.

    Raises
    ------
    ValueError
        If not; nothing is allocated for what a header promises.
    """
    file = io.BytesIO(data)
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("its version is not 1.0")
        found, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception as error:  # a header is a Python literal, which fails in many ways
        raise ValueError(f"it is no array in NumPy's format ({error})") from error
    if found != shape or fortran or dtype != np.uint8 or len(data) - file.tell() != shape[0] * shape[1]:
        raise ValueError(
            f"it has {len(data):,} bytes and says it is {dtype} {found}, expected uint8 {shape}: a row a dataset, a bit a gene"
        )
    return np.frombuffer(data, np.uint8, offset=file.tell()).reshape(shape)
