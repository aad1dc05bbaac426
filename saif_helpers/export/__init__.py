"""Steering vectors for other tools: llama.cpp, EasySteer, and the library steering-vectors.

Each module knows one tool's format, and refuses what the tool cannot do: none of them but EasySteer
chooses positions, and none lets a vector fade.
"""

from saif_helpers.export.easysteer import easysteer_spec
from saif_helpers.export.llama_cpp import control_vector
from saif_helpers.export.steering_vectors import to_steering_vectors

__all__ = ["control_vector", "easysteer_spec", "to_steering_vectors"]
