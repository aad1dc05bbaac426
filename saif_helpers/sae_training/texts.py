"""Text for the training of SAEs, written by the model itself.

Given its chat template up to the user's turn, an instruction-tuned model samples a request, and
then the answer to it (Magpie, arXiv:2406.08464): text from the distribution that it was tuned on,
without a data set. Requests are sampled at temperature 1 for diversity, answers at a lower one,
since a small model's answers degenerate at 1. A share of the prompts contains a wording of this
book's instructions, so that the SAEs are also trained on the read-out token of such prompts. A base
model continues from the beginning of a text. A text file can replace all this.
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from saif_helpers._internal.errors import FileContentError
from saif_helpers.contents import Content, load_contents
from saif_helpers.instructions import InstructionType, load_instructions
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.model.tokens import tokenize
from saif_helpers.prompts import render
from saif_helpers.sae_training.recipe import TextRecipe

BATCH = 128
_MARK = "REQUEST"


@dataclass(frozen=True)
class Text:
    """A training text.

    Attributes:
        text: The text with special tokens, as `render` returns it.
        kind: How it was made: ``"asked"`` (a prompt with an instruction wording), ``"asked,
            answered"``, ``"answered"`` (a request by the model), ``"unfinished"`` (a truncated
            request), ``"continued"`` (a base model's) or ``"given"`` (from a file).
    """

    text: str
    kind: str


def write_part(model: ModelWithSAEs, recipe: TextRecipe, part: str, seed: int = 0) -> list[Text]:
    """Sample one part of the text from a model.

    Args:
        model: The model; it needs no SAEs. With a chat template it writes requests and answers,
            without one it continues from the beginning of a text.
        recipe: The amounts of text.
        part: Name of the part, which with the seed determines every draw.
        seed: Seed of the whole text.

    Returns:
        The texts.
    """
    draw = random.Random(f"texts-{seed}-{part}")
    torch.manual_seed(draw.getrandbits(48))
    if not model.tokenizer.chat_template:
        start = model.tokenizer.bos_token or model.tokenizer.eos_token
        prompts = [start] * recipe.requests
        n_tokens = recipe.request_tokens + recipe.answer_tokens
        written = sample(model, prompts, n_tokens)
        return [Text(start + text, "continued") for text, _ in written if text.strip()]
    return _chat(model, recipe, draw)


def _chat(model: ModelWithSAEs, recipe: TextRecipe, draw: random.Random) -> list[Text]:
    opening = render(_MARK, model.tokenizer).partition(_MARK)[0]
    requests = sample(model, [opening] * recipe.requests, recipe.request_tokens)
    unfinished = [Text(opening + text, "unfinished") for text, ended in requests if not ended]
    whole = [text.strip() for text, ended in requests if ended and _can_be_said(text, model)]
    prompts = [render(text, model.tokenizer) for text in whole]
    instructions = load_instructions(model.corpus).values()
    contents = load_contents("identification", model.corpus)
    asked = [
        render(_ask(draw, text, contents, [*instructions]), model.tokenizer)
        for text in whole
        for _ in range(recipe.asked)
    ]
    answered = draw.sample(prompts, round(recipe.answered * len(prompts)))
    asked_answered = draw.sample(asked, round(recipe.asked_answered * len(prompts)))
    texts = unfinished + [Text(prompt, "asked") for prompt in set(asked) - set(asked_answered)]
    for kind, chosen, n_tokens in (
        ("answered", answered, recipe.answer_tokens),
        ("asked, answered", asked_answered, recipe.asked_tokens),
    ):
        answers = sample(model, chosen, n_tokens, temperature=recipe.temperature)
        end = {True: model.turn_end, False: ""}
        texts += [Text(p + a + end[e], kind) for p, (a, e) in zip(chosen, answers, strict=True)]
    return sorted(texts, key=lambda text: (text.kind, text.text))


def _can_be_said(text: str, model: ModelWithSAEs) -> bool:
    """Return whether a request can be rendered as a user's turn."""
    try:
        render(text.strip(), model.tokenizer)
    except ValueError:
        return False
    return len(text.split()) > 1


def _ask(
    draw: random.Random,
    request: str,
    contents: Sequence[Content],
    instructions: Sequence[InstructionType],
) -> str:
    """Combine a seen wording with a request by the model or a shipped sentence."""
    content = Content(request) if draw.random() < 0.5 else draw.choice(contents)
    fitting = [one for one in instructions if set(one.slots) <= set(content.slots)]
    instruction = draw.choice(fitting)
    wordings = draw.choice([*instruction.select("seen").values()])
    wording = instruction.fill(draw.choice(wordings), content.slots)
    parts = [content.text, wording]
    return " ".join(parts if draw.random() < 0.5 else parts[::-1])


def sample(
    model: ModelWithSAEs,
    prompts: Sequence[str],
    n_tokens: int,
    batch_size: int = BATCH,
    temperature: float = 1.0,
) -> list[tuple[str, bool]]:
    """Sample a continuation of each prompt from the whole distribution.

    Args:
        model: The model.
        prompts: Rendered prompts.
        n_tokens: Maximum number of tokens to sample.
        batch_size: Prompts per batch.
        temperature: Divisor of the logits.

    Returns:
        The continuation of each prompt, with special tokens except the final one, and whether it
        ended within `n_tokens`.
    """
    stop = torch.tensor(model.stop_ids)
    found = []
    for start in range(0, len(prompts), batch_size):
        tokens = tokenize(prompts[start : start + batch_size], model.tokenizer)
        inputs = {key: tokens[key].to(model.device) for key in ("input_ids", "attention_mask")}
        with torch.no_grad():
            written = model.hf.generate(
                **inputs,
                max_new_tokens=n_tokens,
                do_sample=True,
                temperature=temperature,
                top_k=0,
                top_p=1.0,
                eos_token_id=model.stop_ids,
                pad_token_id=model.tokenizer.pad_token_id,
            )
        for row in written[:, tokens["input_ids"].shape[1] :].cpu():
            ends = torch.isin(row, stop).nonzero()
            end = int(ends[0]) if len(ends) else len(row)
            found.append((model.tokenizer.decode(row[:end]), len(ends) > 0))
    return found


def read_texts(file: Path) -> list[Text]:
    """Read a part written by `save_texts`."""
    return [Text(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def save_texts(texts: Sequence[Text], file: Path) -> None:
    """Write texts to a file atomically, one JSON object per line."""
    lines = [json.dumps({"kind": t.kind, "text": t.text}, ensure_ascii=False) for t in texts]
    part = file.with_name(f".{file.name}.part")
    part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    part.replace(file)


def given_parts(file: Path, model: ModelWithSAEs, n_parts: int) -> Iterator[list[Text]]:
    """Split a text file with one text per line into parts.

    Args:
        file: A text file in UTF-8; empty lines are skipped.
        model: The model, whose tokenizer prepends the beginning-of-sequence token.
        n_parts: Number of parts.

    Yields:
        The texts of each part, every `n_parts`-th line.

    Raises:
        ValueError: If the file has fewer lines than parts.
    """
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if line]
    if len(lines) < n_parts:
        raise FileContentError(
            f"{file} has {len(lines)} lines with text, too few for {n_parts} parts; give one text "
            "per line, at least as many as parts, or fewer parts",
            file,
        )
    for part in range(n_parts):
        yield [
            Text(render(line, model.tokenizer, "plain"), "given") for line in lines[part::n_parts]
        ]
