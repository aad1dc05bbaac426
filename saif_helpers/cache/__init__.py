"""A folder that keeps finished captures and generations, so that a stopped run continues.

It knows no model: an entry's key is a digest of everything that its content depends on.
"""
