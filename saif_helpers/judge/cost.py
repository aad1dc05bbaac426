"""Cost estimate of a judge, computed before anything is sent."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from saif_helpers.judge.rubric import MOST_TOKENS, Body


@dataclass(frozen=True)
class JudgeCost:
    """Estimated cost of grading.

    Attributes:
        requests: Number of requests without a cached answer.
        tokens_in: Number of input tokens, estimated without a tokenizer: one per three ASCII
            characters, two per other character. Prose needs fewer; symbols may need more.
        tokens_out: Maximum number of output tokens, without retries.
        dollars: The price, or None if no prices were given.
    """

    requests: int
    tokens_in: int
    tokens_out: int
    dollars: float | None = None

    def __str__(self) -> str:
        """Return it as ``3 requests, about 3000 tokens in, at most 900 out``."""
        price = "" if self.dollars is None else f", {self.dollars:.4f} dollars"
        return (
            f"{self.requests} requests, about {self.tokens_in} tokens in, "
            f"at most {self.tokens_out} out{price}"
        )


def estimated_cost(missing: Mapping[str, Body]) -> JudgeCost:
    """Estimate the cost of requests.

    Args:
        missing: Digest to body of each request without a cached answer.

    Returns:
        The estimate, without a price.
    """
    # json.dumps escapes any other character with six ASCII characters
    tokens = sum(math.ceil(len(json.dumps(body)) / 3) for body in missing.values())
    return JudgeCost(len(missing), tokens, MOST_TOKENS * len(missing))
