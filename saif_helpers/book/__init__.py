"""What the chapters of this book record for its other pages, and with what it was made."""
