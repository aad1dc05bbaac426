"""What the right answer to an instruction is: the data's reference, or what the model writes."""

from collections.abc import Sequence

from saif_helpers.instructions import InstructionType
from saif_helpers.models import ModelWithSAEs
from saif_helpers.prompts import Content, make_pairs
from saif_helpers.steering import generate


def reference_answers(
    model: ModelWithSAEs,
    instruction: InstructionType,
    contents: Sequence[Content],
    *,
    max_new_tokens: int = 60,
    seed: int = 0,
) -> list[str]:
    """Return the right answer for each content, as far as there is one.

    The organism's sentences come with references. Natural sentences do not; there it is what the
    model itself answers when it is asked, in English and in words. That tells how an answer of this
    model looks, not whether it is right, so no grade may rest on it.

    Args:
        model: The model.
        instruction: The instruction.
        contents: The contents.
        max_new_tokens: Most tokens of an answer.
        seed: Decides which content meets which wording.

    Returns:
        The answers, in the order of the contents.

    Raises:
        ValueError: If there is no content, or the instruction has no English wording.
    """
    pairs = make_pairs(instruction, contents, model.tokenizer, languages=["en"], seed=seed)
    missing = [p for p in pairs if p.content.references.get(instruction.name) is None]
    prompts = [pair.positive for pair in missing]
    written = iter(generate(model, prompts, max_new_tokens=max_new_tokens) if prompts else ())
    known = [pair.content.references.get(instruction.name) for pair in pairs]
    return [next(written) if answer is None else answer for answer in known]
