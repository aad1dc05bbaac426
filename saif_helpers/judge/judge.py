"""A language model as judge, in place of rules (paper: GPT-4o-mini; reported).

The judge can be any endpoint with OpenAI's chat completions API, accessed with the official client,
an optional dependency. Only `Judge.grade` and `Judge.answers` send requests, and answers are cached
on disk (`answers`). See `rubric` for the prompt.
"""

import math
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from saif_helpers._internal.arguments import seed_number, whole_number
from saif_helpers._internal.checked import checked
from saif_helpers._internal.errors import ArgumentError
from saif_helpers._internal.progress import progress
from saif_helpers.graders.grader import Item
from saif_helpers.grading import Grades, broken_outputs, check_lengths
from saif_helpers.instructions import InstructionType
from saif_helpers.judge.answers import Answer, AnswerCache, cache_folder
from saif_helpers.judge.client import BadAnswerError, JudgeError, ask, open_client
from saif_helpers.judge.cost import JudgeCost, estimated_cost
from saif_helpers.judge.rubric import (
    Body,
    judge_messages,
    request_body,
    request_digest,
)

OPENAI = "https://api.openai.com/v1"


@checked
@dataclass(frozen=True)
class Judge:
    """A language model that grades outputs, one per request.

    >>> judge = saif.Judge("gpt-4o-mini", cache="answers")
    >>> print(judge.estimate(outputs, items, french).requests)
    4

    Attributes:
        model: The endpoint's name of the model.
        base_url: The endpoint; by default ``$OPENAI_BASE_URL``, or else OpenAI's.
        cache: Folder of cached answers; by default `answers.cache_folder`.
        key_name: Environment variable or Colab secret with the API key.
        seed: Seed of the first request for an output; each further attempt uses the next.
        threads: Number of concurrent requests.
        attempts: Maximum number of attempts to get a valid answer for an output.
        max_retries: Number of retries after 429, 5xx or a timeout, with exponential backoff.
        timeout: Timeout of a request in seconds.
    """

    model: str = "gpt-4o-mini"
    base_url: str | None = None
    cache: Path | str | None = None
    key_name: str = "OPENAI_API_KEY"
    seed: int = 0
    threads: int = 4
    attempts: int = 3
    max_retries: int = 5
    timeout: float = 60.0

    def __post_init__(self) -> None:
        """Set the defaults, and raise for invalid values."""
        url = self.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI
        parts = urlsplit(url)
        address = parts.scheme in ("http", "https") and parts.hostname
        if not address or parts.query or parts.fragment or parts.username is not None:
            raise ArgumentError(
                "base_url must be like 'https://api.openai.com/v1', with no name, password or "
                "query in it; give the key through the environment",
                "base_url",
            )
        seed_number(self.seed)
        if not 0 < self.timeout < math.inf:
            raise ArgumentError(
                f"timeout={self.timeout} given; give a positive number of seconds", "timeout"
            )
        for name, least in (("threads", 1), ("attempts", 1), ("max_retries", 0)):
            whole_number(name, getattr(self, name), least)
        object.__setattr__(self, "base_url", url.rstrip("/"))
        object.__setattr__(self, "cache", Path(self.cache or cache_folder()).expanduser())

    @checked
    def grade(
        self,
        outputs: Sequence[str],
        items: Sequence[Item],
        instruction: InstructionType,
        limit: int | None = None,
    ) -> Grades:
        """Grade outputs of one instruction with the judge, like `grade`.

        Args:
            outputs: Generated texts.
            items: What each is graded against, in the same order.
            instruction: The instruction; its grader is not used.
            limit: Maximum number of requests; cached answers do not count.

        Returns:
            The grades.

        Raises:
            ImportError: If the client is not installed.
            JudgeError: If requests fail or get no valid answer; answers received before are
                cached.
            LookupError: If there is no key.
            ValueError: If there is nothing to grade, not one item for each output, or more
                requests than `limit`.
        """
        answers = self.answers(outputs, items, instruction, limit)
        broken = broken_outputs(outputs, items)
        strict, loose = (
            tuple(getattr(a, kind) and not lost for a, lost in zip(answers, broken, strict=True))
            for kind in ("strict", "loose")
        )
        return Grades(instruction.name, tuple(items), tuple(outputs), strict, loose, broken)

    @checked
    def answers(
        self,
        outputs: Sequence[str],
        items: Sequence[Item],
        instruction: InstructionType,
        limit: int | None = None,
    ) -> list[Answer]:
        """Return the judge's answers with their reasons; see `grade` for arguments and errors."""
        digests, answers, missing = self._look_up(outputs, items, instruction)
        if limit is not None and len(missing) > limit:
            raise ArgumentError(
                f"{len(missing)} requests are needed and limit={limit} was given; raise the limit "
                "or grade fewer outputs (see Judge.estimate for the cost)",
                "limit",
            )
        if missing:
            answers |= self._ask_all(missing, digests)
        return [answers[digest] for digest in digests]

    @checked
    def estimate(
        self,
        outputs: Sequence[str],
        items: Sequence[Item],
        instruction: InstructionType,
        price_in: float | None = None,
        price_out: float | None = None,
    ) -> JudgeCost:
        """Estimate the cost of `grade` without sending a request.

        Retries are not included.

        Args:
            outputs: Generated texts.
            items: What each is graded against, in the same order.
            instruction: The instruction.
            price_in: Dollars per million input tokens.
            price_out: Dollars per million output tokens.

        Returns:
            The estimate.

        Raises:
            ValueError: If there is nothing to grade, not one item per output, or only one price.
        """
        if (price_in is None) != (price_out is None):
            raise ArgumentError(
                "one price was given; give price_in and price_out, or neither",
                "price_in" if price_in is None else "price_out",
            )
        for name, price in (("price_in", price_in), ("price_out", price_out)):
            if price is not None and not 0 <= price < math.inf:
                raise ArgumentError(f"{name}={price} given; give at least 0 dollars", name)
        _, _, missing = self._look_up(outputs, items, instruction)
        estimate = estimated_cost(missing)
        if price_in is None or price_out is None:
            return estimate
        dollars = (estimate.tokens_in * price_in + estimate.tokens_out * price_out) / 1e6
        return replace(estimate, dollars=dollars)

    def _look_up(
        self, outputs: Sequence[str], items: Sequence[Item], instruction: InstructionType
    ) -> tuple[list[str], dict[str, Answer], dict[str, Body]]:
        """Return each output's digest, the cached answers, and the other requests."""
        check_lengths(outputs, items)
        bodies = [
            request_body(self.model, self.seed, judge_messages(output, item, instruction))
            for output, item in zip(outputs, items, strict=True)
        ]
        digests = [request_digest(str(self.base_url), body) for body in bodies]
        requests = dict(zip(digests, bodies, strict=True))
        kept = {digest: self._cache.read(digest) for digest in requests}
        answers = {digest: answer for digest, answer in kept.items() if answer is not None}
        missing = {digest: body for digest, body in requests.items() if digest not in answers}
        return digests, answers, missing

    @property
    def _cache(self) -> AnswerCache:
        return AnswerCache(Path(str(self.cache)))

    def _ask_all(self, missing: dict[str, Body], digests: Sequence[str]) -> dict[str, Answer]:
        """Send the missing requests concurrently; stop at errors that would affect all."""
        text = f"judge: {estimated_cost(missing)}"
        client = open_client(str(self.base_url), self.key_name, self.max_retries, self.timeout)
        with client, ThreadPoolExecutor(self.threads) as pool:
            futures = {
                pool.submit(self._ask, client, digest, body): digest
                for digest, body in missing.items()
            }
            try:
                for done in progress(as_completed(futures), text, len(futures)):
                    if not isinstance(done.exception(), BadAnswerError | None):
                        break
            finally:
                pool.shutdown(cancel_futures=True)
        finished = {digest: future for future, digest in futures.items() if not future.cancelled()}
        errors = {digest: f.exception() for digest, f in finished.items() if f.exception()}
        if errors:
            self._report(errors, len(missing), len(finished) - len(errors), digests)
        return {digest: future.result() for digest, future in finished.items()}

    def _ask(self, client: Any, digest: str, body: Body) -> Answer:
        answer, model = ask(client, body, self.attempts)
        try:
            self._cache.write(digest, answer, model)
        except OSError as error:  # do not lose a paid answer
            warnings.warn(
                f"answers cannot be cached in {self.cache} ({error}); grading continues, but they "
                "will be requested again: free space there, or give another cache",
                stacklevel=2,
            )
        return answer

    def _report(
        self, errors: dict[str, BaseException], wanted: int, kept: int, digests: Sequence[str]
    ) -> NoReturn:
        """Raise the most relevant error: one that stopped all requests, if any."""
        digest = min(errors, key=lambda digest: isinstance(errors[digest], BadAnswerError))
        if not isinstance(errors[digest], JudgeError):
            raise errors[digest]
        raise JudgeError(
            f"{wanted - kept} of {wanted} requests have no answer; for output "
            f"{digests.index(digest)}: {errors[digest]}. The other {kept} answers are cached in "
            f"{self.cache}: grade again to request only the rest"
        )
