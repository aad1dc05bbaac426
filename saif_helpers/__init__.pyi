"""The public names, each where it is defined: type checkers and the lazy import read this list."""

from .activations import capture, capture_pairs, capture_tokens
from .analysis.reconstruction import reconstruction_quality, reconstruction_table
from .analysis.usual_activations import usual_activations
from .cache.store import Store
from .comparison import paired_difference
from .contents import Content, load_contents
from .display.cards import latent_cards
from .display.side_by_side import steer
from .display.slider import Frames
from .generation.decoding import Sampling
from .graders.broken import is_broken
from .graders.checks import language_is, matches, word_count
from .graders.grader import Grader, Item
from .graders.run_check import GraderError
from .grading import Grades, check_grader, grade, pool_grades
from .hub.loading import load
from .instructions import InstructionType, load_instructions
from .intervals import Interval, wilson
from .judge.judge import Judge
from .latents import decode, encode
from .model.assemble import wrap
from .model.model import ModelWithSAEs
from .prompts import PromptPair, make_pairs, render
from .random_controls import random_direction_vector, random_latents_vector
from .ranking import LatentRanking, newly_active, rank_captured, rank_latents, rank_layers
from .steering import generate, log_probabilities
from .study.baselines import force_first_token, reference_answers
from .study.claims import Criterion, verdict
from .study.controls import norm_matched_controls
from .study.protocol import choose_and_test
from .study.search import search
from .study.settings import SteeringSetting, grade_settings, settings_grid, steer_and_grade
from .study.study import Study, study_instruction
from .study.sweep import best_setting, sweep
from .vector_rules import (
    clamped_latents,
    mean_difference_vector,
    saif_vector,
    signed_latents_vector,
    steering_vector,
)
from .vectors import ClampedLatents, SteeringVector
from .widgets.playground import Playground

__all__ = [
    "ClampedLatents",
    "Content",
    "Criterion",
    "Frames",
    "Grader",
    "GraderError",
    "Grades",
    "InstructionType",
    "Interval",
    "Item",
    "Judge",
    "LatentRanking",
    "ModelWithSAEs",
    "Playground",
    "PromptPair",
    "Sampling",
    "SteeringSetting",
    "SteeringVector",
    "Store",
    "Study",
    "best_setting",
    "capture",
    "capture_pairs",
    "capture_tokens",
    "check_grader",
    "choose_and_test",
    "clamped_latents",
    "decode",
    "encode",
    "force_first_token",
    "generate",
    "grade",
    "grade_settings",
    "is_broken",
    "language_is",
    "latent_cards",
    "load",
    "load_contents",
    "load_instructions",
    "log_probabilities",
    "make_pairs",
    "matches",
    "mean_difference_vector",
    "newly_active",
    "norm_matched_controls",
    "paired_difference",
    "pool_grades",
    "random_direction_vector",
    "random_latents_vector",
    "rank_captured",
    "rank_latents",
    "rank_layers",
    "reconstruction_quality",
    "reconstruction_table",
    "reference_answers",
    "render",
    "saif_vector",
    "search",
    "settings_grid",
    "signed_latents_vector",
    "steer",
    "steer_and_grade",
    "steering_vector",
    "study_instruction",
    "sweep",
    "usual_activations",
    "verdict",
    "wilson",
    "word_count",
    "wrap",
]
__version__: str
