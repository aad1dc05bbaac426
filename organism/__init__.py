"""Code that creates the shipped model organism: grammar, corpus and training recipe."""
