"""Names of the few choices that many functions take: corpus, prompt style, placement, machine."""

from typing import Literal

Corpus = Literal["grammar", "natural"]
Style = Literal["chat", "plain"]
Remote = bool | Literal["local"]
"""False: this machine. True: NDIF. "local": this machine, by way of all that NDIF would be sent."""
Placement = Literal["last_prompt_token", "every_position", "generated_tokens", "decaying"]
PLACEMENTS: tuple[Placement, ...] = (
    "last_prompt_token",
    "every_position",
    "generated_tokens",
    "decaying",
)
