"""Rules that grade an output: strict (done completely) and loose (recognisably there).

A grader pairs two checks (`grader`, `checks`); the shipped ones are for the organism's grammar
(`exact`) and for natural text without references (`natural`, `response`, `translation`, `ifeval`).
Text that is broken passes no grade (`broken`).
"""
