"""Shared internals: paths, type aliases, argument checks, progress bars."""
