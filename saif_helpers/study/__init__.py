"""From steering settings to a verdict: choose on validation, report on test, with controls.

`settings` and `search` choose a setting, `protocol` reports it, `baselines` provides baselines,
`claims` the rule of a verdict, and `study` does everything for one instruction.
"""
