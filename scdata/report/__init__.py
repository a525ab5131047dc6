"""What a set holds, for people: one pass over its cells, figures, and a page that stands on its own."""
