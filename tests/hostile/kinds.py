"""Ways to alter a set, each with what is said of it."""

import os

import numpy as np
import pyarrow as pa

KINDS = {}


def kind(expected, base="counts", ways=("load", "verify")):
    """A way to alter a set, what is said, and by what: the loader, one with a filter, `verify_shards`."""

    def add(change):
        KINDS[change.__name__] = (change, expected, base, ways)
        return change

    return add


def arrow(table, compression=None, **options):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression, **options)) as out:
        out.write_table(table)
    return sink.getvalue().to_pybytes()


def with_column(batch, name, column):
    at = batch.schema.names.index(name)
    return batch.set_column(at, name, column).replace_schema_metadata(batch.schema.metadata)


ZEROS = 1 << 30  # bytes, which zstd makes 33 kB of


def zeros(n, kind=None):
    return pa.Array.from_buffers(kind or pa.uint8(), n, [None, pa.py_buffer(np.zeros(n, np.uint8))])


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/pwned",)
