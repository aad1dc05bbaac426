"""On-disk cache of finished captures and generations, so that an interrupted run can resume.

It is independent of models: an entry's key is a digest of everything that its content depends on.
"""
