"""Results that the chapters record for other pages of the book, with their provenance."""
