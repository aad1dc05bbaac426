"""Text for the training of SAEs, written by the model itself.

An instruction-tuned model that is given its chat template up to the user's turn, and sampled from,
writes a request, and then the answer to it (Magpie, arXiv:2406.08464): text from the distribution
that the model was tuned on, without a data set. Requests are drawn at temperature 1, for variety,
answers at a lower one, since a small model's answers fall apart at 1. A share of the prompts
carries an instruction wording of this book, so that the read-out token of such prompts is among
what the SAEs learn. A base model continues from the beginning of a text. A file of the reader's can
take the place of all this.
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

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
    """A text that a model is read on.

    Attributes:
        text: The text, special tokens written out, as `render` returns it.
        kind: How it was made: ``"asked"`` (a prompt with an instruction wording), ``"asked,
            answered"``, ``"answered"`` (a request of the model's own), ``"unfinished"`` (a request
            that had no end), ``"continued"`` (a base model's) or ``"given"`` (from a file).
    """

    text: str
    kind: str


def write_part(model: ModelWithSAEs, recipe: TextRecipe, part: str, seed: int = 0) -> list[Text]:
    """Let a model write one part of its text.

    Args:
        model: The model; it needs no SAEs. With a chat template it writes requests and answers,
            without one it continues from the beginning of a text.
        recipe: How much of what.
        part: Name of the part; with the seed it decides every draw.
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
    """Return whether a request can be put into a user's turn as it is."""
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
    """Put a seen wording before or after a request of the model's own, or a shipped sentence."""
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
        n_tokens: Most tokens to sample.
        batch_size: Prompts sampled from at once.
        temperature: Divides the logits.

    Returns:
        The continuation of each prompt, with special tokens as text but for the one that ends it;
        and whether it ended before `n_tokens`.
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
    """Read a part that `save_texts` wrote."""
    return [Text(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def save_texts(texts: Sequence[Text], file: Path) -> None:
    """Write texts to a file, one JSON object a line; the file appears whole or not at all."""
    lines = [json.dumps({"kind": t.kind, "text": t.text}, ensure_ascii=False) for t in texts]
    part = file.with_name(f".{file.name}.part")
    part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    part.replace(file)


def given_parts(file: Path, model: ModelWithSAEs, n_parts: int) -> Iterator[list[Text]]:
    """Split a reader's own text file, one text a line, into parts.

    Args:
        file: A text file in UTF-8; empty lines are left out.
        model: Its tokenizer puts the beginning-of-sequence token in front.
        n_parts: Number of parts.

    Yields:
        The texts of each part, every `n_parts`-th line.

    Raises:
        ValueError: If the file has fewer lines than parts.
    """
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if line]
    if len(lines) < n_parts:
        raise ValueError(
            f"{file} has {len(lines)} lines with text, too few for {n_parts} parts; give one text "
            "a line, at least as many as parts, or ask for fewer parts"
        )
    for part in range(n_parts):
        yield [
            Text(render(line, model.tokenizer, "plain"), "given") for line in lines[part::n_parts]
        ]
