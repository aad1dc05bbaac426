"""Type aliases shared by many functions: corpus, prompt style, where the model runs."""

from typing import Literal

Corpus = Literal["grammar", "natural"]
Style = Literal["chat", "plain"]
Remote = bool | Literal["local"]
"""False: this machine. True: NDIF. "local": this machine, with the serialization of NDIF."""
