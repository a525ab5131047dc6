"""Sets as the files that other tools read."""
