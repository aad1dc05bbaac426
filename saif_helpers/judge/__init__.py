"""A language model as the grader, behind an endpoint that speaks OpenAI's protocol.

Answers are cached, their cost is estimated first, and agreement with the rules is measured.
"""
