"""Published vocabularies and medians: found in a folder or the cache, fetched, imported, and read without running anything."""
