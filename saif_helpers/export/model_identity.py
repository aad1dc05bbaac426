"""Which model a vector belongs to: its name, and a digest of its configuration."""

import json

from transformers import PretrainedConfig, PreTrainedModel

from saif_helpers.cache.entry import digest
from saif_helpers.model.model import ModelWithSAEs

NOT_THE_MODEL = {
    "_name_or_path",  # where it was loaded from
    "architectures",  # written when a model is saved
    "dtype",  # of these weights in memory
    "pad_token_id",  # set by callers who want to generate
    "transformers_version",
    "use_cache",
}
"""Fields of a configuration that do not identify the model."""
Model = ModelWithSAEs | PreTrainedModel


def config_digest(model: Model) -> str:
    """Return the sha256 sum of a model's configuration, independent of where it was loaded from.

    Args:
        model: The model.

    Returns:
        64 hexadecimal digits.
    """
    config = model_config(model).to_diff_dict()
    kept = {name: value for name, value in config.items() if name not in NOT_THE_MODEL}
    return digest(json.loads(json.dumps(kept, default=str)))


def model_config(model: Model) -> PretrainedConfig:
    """Return the configuration of a model's text part.

    Args:
        model: The model.

    Returns:
        The configuration of transformers.
    """
    hf = model.hf if isinstance(model, ModelWithSAEs) else model
    return hf.config.get_text_config()


def model_name(model: Model) -> str:
    """Return the name of a model.

    Args:
        model: The model.

    Returns:
        Its name here, else where it was loaded from, else its class.
    """
    """Return the name of a model.

    Args:
        model: The model.

    Returns:
        Its name here, else where it was loaded from, else its class.
    """
    if isinstance(model, ModelWithSAEs):
        return model.name
    return model.config.name_or_path or type(model).__name__
