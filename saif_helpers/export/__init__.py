"""Steering vectors for other tools: llama.cpp, EasySteer, and the library steering-vectors.

Each module handles one tool's format and raises for what the tool cannot express: only EasySteer
supports a choice of positions, and none supports decay.
"""

from saif_helpers.export.easysteer import easysteer_spec
from saif_helpers.export.llama_cpp import control_vector
from saif_helpers.export.steering_vectors import to_steering_vectors

__all__ = ["control_vector", "easysteer_spec", "to_steering_vectors"]
