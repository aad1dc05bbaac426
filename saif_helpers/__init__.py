"""Helpers of the SAIF book, one module for each station of the method.

An instruction (`instructions`) becomes prompt pairs (`prompts`), whose residual stream is captured
(`activations`) and encoded (`latents`); latents are ranked (`ranking`), added up to a steering
vector (`vectors`), which is added to the model (`interventions`) while it generates (`steering`),
and the outputs graded, by rules (`graders`, `grades`) or by a language model (`judge`). Finished
work can be kept (`store`). A module imports only stations before it. Names are imported on first
use, so that ``import saif_helpers`` stays light.
"""

import importlib

from saif_helpers.versions import warn_if_unsupported

__version__ = "0.1.0"

_STATIONS = {
    "graders": [
        "Grader",
        "Item",
        "identify_language",
        "language_is",
        "matches",
        "repetition",
        "word_count",
    ],
    "broken": ["is_broken"],
    "translations": ["is_translation"],
    "natural_graders": ["NATURAL_GRADERS"],
    "ifeval": ["follows_ifeval"],
    "instructions": ["InstructionType", "load_instructions"],
    "prompts": ["Content", "PromptPair", "load_contents", "make_pairs", "render"],
    "parallel": ["load_parallel"],
    "zoo": ["zoo_table"],
    "needs": ["needs_table", "shipped_memory_table"],
    "gguf_files": ["ModelCache"],
    "remote": ["skeleton"],
    "store": ["Store", "default_folder"],
    "models": ["ModelWithSAEs", "wrap"],
    "loading": ["load"],
    "batching": ["default_batch_size"],
    "activations": ["capture", "capture_pairs", "capture_tokens"],
    "latents": ["decode", "encode", "reconstruction_quality", "reconstruction_table"],
    "ranking": [
        "LatentRanking",
        "jaccard",
        "rank_captured",
        "rank_latents",
        "rank_layers",
        "swap_labels",
        "switched_on",
    ],
    "vectors": [
        "ClampedLatents",
        "SteeringVector",
        "clamped_latents",
        "mean_difference_vector",
        "saif_vector",
        "signed_mean_difference_vector",
        "steering_vector",
    ],
    "steering": ["generate", "log_probabilities"],
    "references": ["reference_answers"],
    "asking": ["GraderError"],
    "grades": [
        "Grades",
        "Interval",
        "check_grader",
        "grade",
        "paired_difference",
        "pool",
        "wilson",
    ],
    "settings": ["Setting", "grade_settings", "settings_grid", "steer_and_grade"],
    "answers": ["Answer", "AnswerCache"],
    "rubric": ["judge_messages", "judge_rubric"],
    "endpoint": ["JudgeError"],
    "judge": ["Estimate", "Judge"],
    "kappa": ["Agreement", "agreement"],
    "selection": ["best_setting", "refuse_test", "search", "shortlist", "sweep"],
    "controls": [
        "first_tokens",
        "force_first_token",
        "most_frequent_first_token",
        "random_direction_vector",
        "random_latents_vector",
    ],
    "verdicts": [
        "Check",
        "checks_table",
        "record_checks",
        "record_table",
        "record_text",
        "record_verdict",
        "recorded_checks",
        "share_between",
        "verdict",
    ],
    "made_with": ["provenance", "record_provenance"],
    "results": ["read_results", "results_table"],
    "specificity": ["classify_latents", "response_table"],
    "proximity": [
        "auroc",
        "auroc_interval",
        "enrichment",
        "logit_lens",
        "own_vocabulary",
        "promoted_tokens",
        "vocabulary_scores",
    ],
    "influence": ["gradient_influence", "output_scores"],
    "contexts": ["Context", "top_contexts"],
    "cards": ["LatentCard", "latent_cards"],
    "effects": ["content_kept", "output_loss"],
    "figures": ["heatmap", "interval_bars", "interval_lines", "sensitivity_curve", "style"],
    "frames": ["Frames"],
    "study": ["Study", "study_instruction"],
    "memory": ["MemoryEstimate", "architecture", "architectures", "estimate", "memory_table"],
    "playground": ["Playground", "SideBySide", "side_by_side"],
}
_MODULE_OF = {name: module for module, names in _STATIONS.items() for name in names}

__all__ = ["__version__", *sorted(_MODULE_OF)]

warn_if_unsupported()


def __getattr__(name: str) -> object:
    """Import a public name from its station the first time it is asked for."""
    if name not in _MODULE_OF:
        raise AttributeError(
            f"saif_helpers has no name {name!r}; it has {', '.join(sorted(_MODULE_OF))}"
        )
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return __all__
