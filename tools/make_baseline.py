"""Let the real model answer every instruction, for the page *What the real model follows*.

``make baseline`` writes ``book/baseline.json``: the outputs for each instruction, at each position,
and without one. The page grades them, so that a change of a grader shows there at once. What is
there already for the same prompts is not written again: a stopped run goes on.
"""

import argparse
import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import torch
from tqdm import tqdm

import saif_helpers as saif
from saif_helpers.cache.entry import write
from saif_helpers.hub.smollm2 import NAME

RECORD = Path(__file__).resolve().parents[1] / "book" / "baseline.json"
N_CONTENTS = 20  # of the test split, the first
MAX_NEW_TOKENS = 48
SEED = 0
POSITIONS = ("after", "before")


@dataclass(frozen=True)
class Group:
    """Prompts that are answered and graded together.

    Attributes:
        instruction: Name of the instruction, None for the contents alone.
        position: Where its wording is, None for the contents alone.
        prompts: The prompts, rendered.
    """

    instruction: str | None
    position: str | None
    prompts: tuple[str, ...]

    @property
    def digest(self) -> str:
        """What tells these prompts from others."""
        return hashlib.sha256("\n\n".join(self.prompts).encode()).hexdigest()


def groups(tokenizer: object) -> Iterator[Group]:
    """Yield all prompts.

    Args:
        tokenizer: The model's tokenizer, for its chat template.

    Yields:
        The contents alone, then each instruction at each position, in an English wording.
    """
    contents = saif.load_contents("test", "natural")[:N_CONTENTS]
    alone = tuple(saif.render(content.text, tokenizer) for content in contents)
    yield Group(None, None, alone)
    for name, instruction in saif.load_instructions("natural").items():
        for position in POSITIONS:
            options = {"languages": ["en"], "position": position, "seed": SEED}
            pairs = saif.make_pairs(instruction, contents, tokenizer, **options)
            yield Group(name, position, tuple(pair.positive for pair in pairs))


def read(file: Path = RECORD) -> dict[str, dict]:
    """Return what was recorded, each group by the digest of its prompts."""
    if not file.exists():
        return {}
    return {row["digest"]: row for row in json.loads(file.read_text(encoding="utf-8"))["groups"]}


@cache
def _model() -> saif.ModelWithSAEs:
    return saif.load(NAME, saes={}, store=None, dtype=torch.float32)


def answer(group: Group) -> dict:
    """Let the model answer the prompts of a group."""
    outputs = saif.generate(_model(), group.prompts, max_new_tokens=MAX_NEW_TOKENS)
    about = {"instruction": group.instruction, "position": group.position, "digest": group.digest}
    return about | {"outputs": outputs}


def make(file: Path, workers: int, answer: Callable[[Group], dict] = answer) -> None:
    """Write the record.

    Args:
        file: The record.
        workers: Processes, of one thread each.
        answer: Answers one group.
    """
    wanted = list(groups(_model().tokenizer))
    done = read(file)
    missing = [group for group in wanted if group.digest not in done]
    threads = {"initializer": torch.set_num_threads, "initargs": (1,)}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), **threads) as pool:
        for row in tqdm(pool.map(answer, missing), total=len(missing)):
            done[row["digest"]] = row
            found = [done[group.digest] for group in wanted if group.digest in done]
            about = {"model": NAME, "dtype": "float32", "max_new_tokens": MAX_NEW_TOKENS}
            text = json.dumps(about | {"groups": found}, indent=1, ensure_ascii=False)
            write(file, (text + "\n").encode())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RECORD)
    given = parser.parse_args()
    make(given.out, given.workers)
