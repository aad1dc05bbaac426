"""From a steering setting to a verdict: choose on validation, report on test, with controls.

`settings` and `search` choose, `protocol` reports, `baselines` are the opponents, `claims` holds
the verdict's rule, and `study` does all of it for one instruction.
"""
