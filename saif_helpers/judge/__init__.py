"""A language model as grader, behind an endpoint with OpenAI's API.

Answers are cached, costs can be estimated in advance, and agreement with the rules is measured.
"""
