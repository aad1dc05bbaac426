"""From steering settings to a verdict: choose on validation, report on test, with controls.

`settings`, `sweep` and `search` choose a setting and `protocol` reports it; `baselines`, `controls`
and `first_word` provide what it is compared with; `claims` and `steering_claim` hold the rules of
the verdicts, and `study` does everything for one instruction.
"""
