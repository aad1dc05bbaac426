"""Answers of a judge: two grades and a reason, checked and kept, so that none is paid twice.

A finished answer is one small JSON file under the digest of its request. It holds no output and no
key, only what was answered, and a sha256 sum of it.
"""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from saif_helpers.cache.entry import digest, write
from saif_helpers.cache.store import default_folder

VERSION = 2  # of the answer's fields; a new one asks everything again
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "reason": {"type": "string"},  # first, so that it is written before the grades
        "loose": {"type": "boolean"},
        "strict": {"type": "boolean"},
    },
    "required": ["reason", "loose", "strict"],
    "additionalProperties": False,
}
"""The JSON schema that an answer is asked for by."""


class Answer(BaseModel):
    """A judge's grades of one output.

    Attributes:
        reason: What decided, in a sentence.
        loose: Whether what was asked is recognisably there.
        strict: Whether the output does what was asked, completely and about the right content.
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
    """Read a judge's answer.

    Args:
        text: What the judge wrote.

    Returns:
        The answer.

    Raises:
        ValueError: If it is not the JSON that `SCHEMA` asks for, or passes strictly alone.
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
    """Return where answers are kept unless told otherwise.

    Returns:
        The folder ``judge`` in `store.default_folder`, so that on Colab answers are kept on a
        mounted Drive too. `Store.clear` leaves them there: they were paid for.
    """
    return default_folder() / "judge"


@dataclass(frozen=True)
class AnswerCache:
    """Finished answers on disk.

    Attributes:
        folder: Where the files lie; made when the first answer is kept.
    """

    folder: Path

    def read(self, request: str) -> Answer | None:
        """Return a kept answer.

        A file that cannot be read, is another request's or is not as it was written is named in a
        warning.

        Args:
            request: The request's digest.

        Returns:
            The answer, or None where there is no sound one.
        """
        path = self._path(request)
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if (kept["version"], kept["request"]) != (VERSION, request):
                raise ValueError("it is the answer to another request")
            if kept.pop("sha256") != digest(kept):
                raise ValueError("its sha256 sum does not fit")
            return Answer.model_validate(kept["answer"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            warnings.warn(
                f"the kept answer {path} is damaged ({type(error).__name__}); it is asked again",
                stacklevel=2,
            )
            return None

    def write(self, request: str, answer: Answer, model: str) -> None:
        """Keep an answer: all of it or nothing, whenever the program ends.

        Args:
            request: The request's digest.
            answer: The answer.
            model: The model that gave it, in the endpoint's own words.
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
