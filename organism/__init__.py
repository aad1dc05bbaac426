"""How the shipped model organism is made: grammar, corpus and training recipe."""
