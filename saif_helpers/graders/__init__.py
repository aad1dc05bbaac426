"""Rule-based graders of outputs: strict (followed completely) and loose (recognisably followed).

A grader pairs two checks (`grader`, `checks`); the shipped ones are for the organism's grammar
(`exact`) and for natural text without references (`natural`, `response`, `translation`, `ifeval`).
Broken text passes neither (`broken`).
"""
