"""Helpers without a subject of their own: paths, type names, argument checks, progress bars."""
