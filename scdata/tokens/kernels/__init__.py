"""Kernels of tokens: bins, ranks, levels. Each has one contract, a NumPy definition that a device shares, and fast twins."""
