"""Prompt pairs: the content with the instruction, and the same content without it.

Paper, latent identification (standing: stated): positive sample = [content] + [instruction],
negative sample = [content] alone. Content and wording are joined by one space.
"""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from saif_helpers.graders import Item
from saif_helpers.instructions import DATA, InstructionType, Wordings

Position = Literal["after", "before"]
Style = Literal["chat", "plain"]


@dataclass(frozen=True)
class Content:
    """A sentence that an instruction can be about.

    Attributes:
        text: The sentence.
        references: Instruction name to the right answer.
        slots: What fills an instruction's slots, for example ``{"keyword": "garden"}``.
        split: ``"identification"``, ``"validation"`` or ``"test"``, where it comes from the shipped
            data.
    """

    text: str
    references: Mapping[str, str] = field(default_factory=dict)
    slots: Mapping[str, str] = field(default_factory=dict)
    split: str = ""

    def item(self, instruction: InstructionType) -> Item:
        """Return what an output for this content under `instruction` is graded against."""
        return Item(self.text, self.references.get(instruction.name), self.slots)


@dataclass(frozen=True)
class PromptPair:
    """One content with and without one wording of an instruction, ready for the tokenizer.

    Attributes:
        positive: The rendered prompt with the instruction, special tokens as text.
        negative: The rendered prompt without it.
        wording: The wording used, its slots filled.
        language: The wording's language code.
        content: The content of both.
        position: Where the instruction stands, relative to the content.
    """

    positive: str
    negative: str
    wording: str
    language: str
    content: Content
    position: Position


def load_contents(split: str, path: Path | None = None) -> list[Content]:
    """Load the shipped sentences of one split.

    Args:
        split: ``"identification"``, ``"validation"`` or ``"test"``.
        path: A file of the same layout (one JSON object a line); by default the package's own.

    Returns:
        The contents, in the file's order.

    Raises:
        ValueError: If the file has no line of this split.
    """
    lines = (path or DATA / "sentences.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines if line.strip()]
    found = [_content(entry) for entry in entries if entry["split"] == split]
    if not found:
        splits = sorted({entry["split"] for entry in entries})
        raise ValueError(f"split {split!r} asked for; the file has {', '.join(splits)}")
    return found


def _content(entry: dict) -> Content:
    known = ("split", "content", "references")
    slots = {key: value for key, value in entry.items() if key not in known}
    return Content(entry["content"], entry.get("references", {}), slots, entry["split"])


def render(text: str, tokenizer: PreTrainedTokenizerBase, style: Style = "chat") -> str:
    """Turn a user's text into a prompt, with its special tokens written out.

    The result holds its special tokens as text, so tokenise it with ``add_special_tokens=False``
    (`tokenize` does).

    Args:
        text: What the user says.
        tokenizer: Its chat template and beginning-of-sequence token are used.
        style: ``"chat"`` puts the turn markers around it and opens the model's turn; ``"plain"``
            only puts the beginning-of-sequence token in front.

    Returns:
        The prompt.

    Raises:
        ValueError: If the text holds one of the tokenizer's special tokens, which would be read as
            a marker instead of as text; or if the style is unknown.
    """
    special = [
        str(t) for t in tokenizer.added_tokens_decoder.values() if t.special and str(t) in text
    ]
    if special:
        raise ValueError(
            f"the text {text!r} holds the special token {special[0]!r}, which the model would "
            "read as a marker; remove it from the text"
        )
    if style == "plain":
        return (tokenizer.bos_token or "") + text
    if style != "chat":
        raise ValueError(f"style {style!r} asked for; give 'chat' or 'plain'")
    turn = [{"role": "user", "content": text}]
    return tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)


def make_pairs(
    instruction: InstructionType,
    contents: Sequence[Content],
    tokenizer: PreTrainedTokenizerBase,
    *,
    position: Position = "after",
    style: Style = "chat",
    languages: Sequence[str] | None = None,
    wordings: Wordings = "seen",
    seed: int = 0,
) -> list[PromptPair]:
    """Make one prompt pair for each content.

    Pair i takes language i modulo the number of languages and, within a language, its wordings in
    turn, in an order drawn with `seed`: languages differ by at most one in how often they are used,
    and so do the wordings of a language.

    Args:
        instruction: The instruction.
        contents: The contents, one for each pair. Repeat a content to pair it with several
            wordings.
        tokenizer: The model's tokenizer, for its chat template.
        position: Instruction ``"after"`` or ``"before"`` the content.
        style: ``"chat"`` or ``"plain"``, see `render`.
        languages: Languages of the wordings; by default all that the selection has.
        wordings: ``"seen"``, ``"unseen"`` or ``"all"``, see `InstructionType.select`.
        seed: Decides which content meets which wording.

    Returns:
        The pairs, in the order of the contents.

    Raises:
        ValueError: If there is no content, or an argument is not one of those allowed.
    """
    if not contents:
        raise ValueError("make_pairs was given no contents; give at least one")
    if position not in ("after", "before"):
        raise ValueError(f"position {position!r} asked for; give 'after' or 'before'")
    draw = random.Random(seed)
    choice = instruction.select(wordings, languages)
    order = draw.sample(list(choice), len(choice))
    choice = {language: draw.sample(choice[language], len(choice[language])) for language in order}
    pairs = []
    for index, content in enumerate(contents):
        language = order[index % len(order)]
        texts = choice[language]
        wording = instruction.fill(texts[index // len(order) % len(texts)], content.slots)
        parts = [content.text, wording] if position == "after" else [wording, content.text]
        positive = render(" ".join(parts), tokenizer, style)
        negative = render(content.text, tokenizer, style)
        pairs.append(PromptPair(positive, negative, wording, language, content, position))
    return pairs


def tokenize(
    prompts: Sequence[str], tokenizer: PreTrainedTokenizerBase
) -> dict[str, Int[Tensor, "prompts tokens"]]:
    """Tokenise rendered prompts as one batch, padded on the left.

    Args:
        prompts: Rendered prompts, special tokens as text (see `render`).
        tokenizer: The model's tokenizer.

    Returns:
        ``input_ids``, ``attention_mask`` (0 on padding) and ``position_ids`` (0 on a prompt's first
        token whatever the padding), so that a batch gives what its members give one by one.

    Raises:
        ValueError: If a prompt is empty or lacks the beginning-of-sequence token that the model's
            prompts begin with.
    """
    for prompt in prompts:
        if not prompt or not prompt.startswith(tokenizer.bos_token or ""):
            raise ValueError(
                f"the prompt {prompt[:60]!r} does not begin with {tokenizer.bos_token!r}; "
                "make it with prompts.render or prompts.make_pairs"
            )
    encoded = tokenizer(
        list(prompts),
        add_special_tokens=False,
        padding=True,
        padding_side="left",
        return_token_type_ids=False,
        return_tensors="pt",
    )
    mask = encoded["attention_mask"]
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    return {"input_ids": encoded["input_ids"], "attention_mask": mask, "position_ids": positions}


def without_bos(
    tokens: Mapping[str, Int[Tensor, "prompts tokens"]], tokenizer: PreTrainedTokenizerBase
) -> Bool[Tensor, "prompts tokens"]:
    """Mark the tokens that count: neither padding nor the beginning-of-sequence token.

    SAEs such as Gemma Scope's were not trained on the beginning-of-sequence token, so it is left
    out of every statistic.

    Args:
        tokens: A batch from `tokenize`.
        tokenizer: The model's tokenizer.

    Returns:
        True where a token counts.
    """
    mask = tokens["attention_mask"].bool()
    if tokenizer.bos_token_id is None:
        return mask
    return mask & (tokens["input_ids"] != tokenizer.bos_token_id)


def batches(
    prompts: Sequence[str], tokenizer: PreTrainedTokenizerBase, batch_size: int
) -> Iterator[tuple[list[int], dict[str, Int[Tensor, "rows tokens"]]]]:
    """Split prompts into tokenised batches of like length, the longest last.

    Args:
        prompts: Rendered prompts.
        tokenizer: The model's tokenizer.
        batch_size: Largest number of prompts in a batch.

    Yields:
        The indices of the batch's prompts in `prompts`, and the batch from `tokenize`.

    Raises:
        ValueError: If there is no prompt or the batch size is not positive.
    """
    if not prompts or batch_size < 1:
        raise ValueError(
            f"{len(prompts)} prompts and batch_size={batch_size} given; give at least one of each"
        )
    lengths = [len(ids) for ids in tokenizer(list(prompts), add_special_tokens=False)["input_ids"]]
    order = sorted(range(len(prompts)), key=lambda index: (lengths[index], index))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        yield rows, tokenize([prompts[row] for row in rows], tokenizer)
