"""Answers of a judge: two grades and a reason, validated and cached, so that none is paid twice.

Each answer is a small JSON file named by the digest of its request. It contains the answer and its
sha256 sum, but no output and no API key.
"""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from saif_helpers.cache.entry import digest, write
from saif_helpers.cache.store import default_folder

VERSION = 2  # of the answer's fields; a new version invalidates the cache
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "reason": {"type": "string"},  # first, so that the judge writes it before the grades
        "loose": {"type": "boolean"},
        "strict": {"type": "boolean"},
    },
    "required": ["reason", "loose", "strict"],
    "additionalProperties": False,
}
"""JSON schema of an answer."""


class Answer(BaseModel):
    """A judge's grades of one output.

    Attributes:
        reason: The reason, in one sentence.
        loose: Whether the output recognisably follows the instruction.
        strict: Whether the output follows the instruction completely, about the right content.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    reason: str
    loose: bool
    strict: bool

    @model_validator(mode="after")
    def _strict_implies_loose(self) -> "Answer":
        if self.strict and not self.loose:
            raise ValueError("strict is true and loose is not")
        return self


def read_answer(text: str) -> Answer:
    """Parse a judge's answer.

    Args:
        text: The judge's response.

    Returns:
        The answer.

    Raises:
        ValueError: If it does not match `SCHEMA`, or is strict but not loose.
    """
    try:
        return Answer.model_validate_json(text)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, part['loc'])) or 'the answer'}: {part['msg']}"
            for part in error.errors(include_url=False)
        ]
    raise ValueError(f"{'; '.join(problems)}; it was {text[:200]!r}")


def cache_folder() -> Path:
    """Return the default folder of the answers.

    Returns:
        The folder ``judge`` in `store.default_folder`, which on Colab may be on a mounted Drive.
        `Store.clear` does not delete it, since answers cost money.
    """
    return default_folder() / "judge"


@dataclass(frozen=True)
class AnswerCache:
    """On-disk cache of answers.

    Attributes:
        folder: Folder of the files, created with the first answer.
    """

    folder: Path

    def read(self, request: str) -> Answer | None:
        """Return a cached answer.

        A file that cannot be read, is damaged or belongs to another request causes a warning.

        Args:
            request: The request's digest.

        Returns:
            The answer, or None if there is no valid one.
        """
        path = self._path(request)
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if (kept["version"], kept["request"]) != (VERSION, request):
                raise ValueError("it is the answer to another request")
            if kept.pop("sha256") != digest(kept):
                raise ValueError("its sha256 sum does not match")
            return Answer.model_validate(kept["answer"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            warnings.warn(
                f"the cached answer {path} is damaged ({type(error).__name__}) and requested again",
                stacklevel=2,
            )
            return None

    def write(self, request: str, answer: Answer, model: str) -> None:
        """Write an answer to the cache, atomically.

        Args:
            request: The request's digest.
            answer: The answer.
            model: The model that gave it, as reported by the endpoint.
        """
        kept = {
            "version": VERSION,
            "request": request,
            "model": model,
            "answer": answer.model_dump(),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        write(self._path(request), json.dumps(kept | {"sha256": digest(kept)}).encode())

    def _path(self, request: str) -> Path:
        return self.folder / f"{request}.json"
