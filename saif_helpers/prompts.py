"""Prompt pairs: a content with the instruction, and the same content without it.

Paper, latent identification (standing: stated): positive sample = [content] + [instruction],
negative sample = [content] alone. Content and wording are joined by one space.
"""

import random
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import jinja2
from transformers import PreTrainedTokenizerBase

from saif_helpers._internal.arguments import ArgumentError, seed_number
from saif_helpers._internal.checked import checked
from saif_helpers._internal.types import Style
from saif_helpers.contents import Content
from saif_helpers.instructions import InstructionType, Wordings, load_instructions
from saif_helpers.model.tokens import markers

Position = Literal["after", "before"]


@checked
@dataclass(frozen=True)
class PromptPair:
    """One content with and without one wording of an instruction, as rendered prompts.

    >>> pair = pairs[0]
    >>> pair.wording in pair.positive, pair.wording in pair.negative
    (True, False)

    Attributes:
        positive: The rendered prompt with the instruction, special tokens as text.
        negative: The rendered prompt without it.
        wording: The wording, with its slots filled.
        language: The wording's language code.
        content: The content of both.
        position: Position of the instruction relative to the content.
    """

    positive: str
    negative: str
    wording: str
    language: str
    content: Content
    position: Position


@checked
def render(
    text: str,
    tokenizer: PreTrainedTokenizerBase,
    style: Style | None = None,
    *,
    system: str | None = None,
    history: Iterable[tuple[str, str]] = (),
    **template_options: object,
) -> str:
    """Render a user's text as a prompt, with special tokens as text.

    Tokenise the result with ``add_special_tokens=False``, as `tokens.tokenize` does.

    >>> saif.render("The cat sleeps.", organism.tokenizer, "plain")
    '<bos>The cat sleeps.'

    Args:
        text: The user's message.
        tokenizer: Its chat template and beginning-of-sequence token are used.
        style: ``"chat"`` applies the chat template and starts the model's turn; ``"plain"`` only
            prepends the beginning-of-sequence token. By default chat if the tokenizer has a chat
            template; base models have none.
        system: System prompt, if supported. By default the template's own, if any (SmolLM2's).
        history: Earlier turns of the chat: pairs of a user message and its answer.
        **template_options: Other options of the chat template, such as ``enable_thinking=False``.

    Returns:
        The prompt.

    Raises:
        ValueError: If a text is empty or contains a control character or a special token of the
            tokenizer, which the model would read as a marker; if the style is unknown, or chat
            without a template; if a system prompt, earlier turns or template options are given
            without chat, or the template does not support a system prompt.
    """
    given, history = [system] if system is not None else [], [*history]
    for said in (text, *given, *(said for turn in history for said in turn)):
        _check_text(said, tokenizer)
    style = style or ("chat" if tokenizer.chat_template else "plain")
    if style == "plain":
        if given or history or template_options:
            raise ArgumentError(
                "a system prompt, earlier turns or template options are given with style 'plain', "
                "which supports only the text; put them into the text, or give style='chat'",
                "style",
            )
        return (tokenizer.bos_token or "") + text
    if not tokenizer.chat_template:
        raise ArgumentError(
            "style 'chat' given, but the tokenizer has no chat template, like those of base "
            "models; give 'plain', or use the instruction-tuned model",
            "style",
        )
    turns = [("system", system)] if system is not None else []
    for asked, answered in history:
        turns += [("user", asked), ("assistant", answered)]
    messages = [{"role": role, "content": said} for role, said in [*turns, ("user", text)]]
    options = {**template_options, "tokenize": False, "add_generation_prompt": True}
    try:
        prompt = tokenizer.apply_chat_template(messages, **options)
    except jinja2.TemplateError as error:
        said = f"the chat template rejects these messages: {error}"
        raise ArgumentError(said, "history") from error
    if system is not None and system.strip() not in prompt:
        raise ArgumentError(
            "the chat template does not support a system prompt; put it at the beginning of the "
            "user's text",
            "system",
        )
    return prompt


def _check_text(text: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise if a text is empty, or would not be preserved inside the user's turn."""
    if not text.strip():
        raise ArgumentError(f"the text {text!r} is empty; give a text", "text")
    for marker in markers(tokenizer):
        if marker in text:
            raise ArgumentError(
                f"the text {text!r} contains the special token {marker!r}, which the model would "
                "read as a marker; remove it from the text",
                "text",
            )
    for char in text:
        if unicodedata.category(char) in ("Cc", "Cs") and char not in "\t\n\r":
            kind = "a control character" if char < "\ud800" else "half of a character"
            raise ArgumentError(
                f"the text {text!r} contains U+{ord(char):04X}, {kind}; of control characters only "
                "tabs and line breaks are allowed: remove it, or read the file in its encoding",
                "text",
            )


@runtime_checkable
class HasTokenizer(Protocol):
    """An object with a tokenizer, such as a model."""

    tokenizer: PreTrainedTokenizerBase


def _shipped(name: str) -> InstructionType:
    """Return a shipped instruction; its wordings do not depend on the corpus."""
    known = load_instructions("grammar") | load_instructions("natural")
    if name not in known:
        known = ", ".join(known)
        raise ArgumentError(f"instruction {name!r} given; there are {known}", "instruction")
    return known[name]


@checked
def make_pairs(
    instruction: InstructionType | str,
    contents: Content | str | Sequence[Content | str],
    tokenizer: PreTrainedTokenizerBase | HasTokenizer,
    *,
    position: Position = "after",
    style: Style | None = None,
    languages: Sequence[str] | None = None,
    wordings: Wordings = "seen",
    seed: int = 0,
) -> list[PromptPair]:
    """Create one prompt pair for each content.

    Pairs cycle through the languages and, within a language, through its wordings, both in an order
    shuffled with `seed`. Each is used equally often, up to a difference of one.

    >>> (one,) = saif.make_pairs("french", ["The cat sleeps."], organism, style="plain")
    >>> one.negative
    '<bos>The cat sleeps.'

    Args:
        instruction: The instruction, or the name of a shipped one.
        contents: A content or string for each pair. Repeat one to pair it with several wordings.
        tokenizer: The model's tokenizer, for its chat template; or the model.
        position: Instruction ``"after"`` or ``"before"`` the content.
        style: ``"chat"`` or ``"plain"``, see `render`.
        languages: Languages of the wordings; by default all of the selection.
        wordings: ``"seen"``, ``"unseen"`` or ``"all"``, see `InstructionType.select`.
        seed: Seed that decides which content gets which wording.

    Returns:
        The pairs, in the order of the contents.

    Raises:
        ValueError: If there are no contents, an argument is not valid, or as `render`.
    """
    if isinstance(instruction, str):
        instruction = _shipped(instruction)
    if isinstance(contents, str | Content):
        contents = [contents]
    contents = [Content(one) if isinstance(one, str) else one for one in contents]
    if isinstance(tokenizer, HasTokenizer):
        tokenizer = tokenizer.tokenizer
    if not contents:
        raise ArgumentError("make_pairs was given no contents; give at least one", "contents")
    draw = random.Random(seed_number(seed))
    choice = instruction.select(wordings, languages)
    order = draw.sample(list(choice), len(choice))
    choice = {language: draw.sample(choice[language], len(choice[language])) for language in order}
    pairs = []
    for index, content in enumerate(contents):
        language = order[index % len(order)]
        texts = choice[language]
        wording = instruction.fill(texts[index // len(order) % len(texts)], content.slots)
        parts = [content.text, wording] if position == "after" else [wording, content.text]
        negative = render(content.text, tokenizer, style)
        positive = render(" ".join(parts), tokenizer, style)
        pairs.append(PromptPair(positive, negative, wording, language, content, position))
    return pairs
