"""What asking a judge would cost, worked out before anything is sent."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from saif_helpers.judge.rubric import MOST_TOKENS, Body


@dataclass(frozen=True)
class JudgeCost:
    """What grading would take.

    Attributes:
        requests: Requests whose answers are not kept yet.
        tokens_in: Tokens that they send, counted without a tokenizer: one for three ASCII
            characters, two for any other. Prose needs fewer; strings of symbols may need more.
        tokens_out: Most tokens that they get back, where every request is answered at once.
        dollars: The price of those tokens, or None where no prices were given.
    """

    requests: int
    tokens_in: int
    tokens_out: int
    dollars: float | None = None

    def __str__(self) -> str:
        """Write it as ``3 requests, about 3000 tokens in, at most 900 out``."""
        price = "" if self.dollars is None else f", {self.dollars:.4f} dollars"
        return (
            f"{self.requests} requests, about {self.tokens_in} tokens in, "
            f"at most {self.tokens_out} out{price}"
        )


def estimated_cost(missing: Mapping[str, Body]) -> JudgeCost:
    """Estimate what some requests would cost.

    Args:
        missing: Digest to the body of each request whose answer is not kept.

    Returns:
        The estimate, without a price.
    """
    # json.dumps writes each other character in six ASCII ones
    tokens = sum(math.ceil(len(json.dumps(body)) / 3) for body in missing.values())
    return JudgeCost(len(missing), tokens, MOST_TOKENS * len(missing))
