"""``scdata verify --against``: a set beside the sources it was built from, read again."""
