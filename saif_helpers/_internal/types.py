"""Names of the few choices that many functions take: corpus, prompt style, machine."""

from typing import Literal

Corpus = Literal["grammar", "natural"]
Style = Literal["chat", "plain"]
Remote = bool | Literal["local"]
"""False: this machine. True: NDIF. "local": this machine, by way of all that NDIF would be sent."""
