"""The command line: ``scdata build | inspect | verify | bench | tokenizers | demo``."""
