"""The judge's prompt: the rubric, and one output as delimited data.

The paper's judge is GPT-4o-mini (standing: reported). Its prompt is not known, so the rubric is
this book's (standing: ours), with the definitions of strict and loose of `graders`.
"""

from typing import Any

from saif_helpers._internal.paths import DATA
from saif_helpers.cache.entry import digest
from saif_helpers.graders.grader import Item
from saif_helpers.instructions import InstructionType
from saif_helpers.judge.answers import SCHEMA, VERSION

MOST_TOKENS = 300  # of an answer
Body = dict[str, Any]


def judge_rubric() -> str:
    """Return the rubric that tells a judge how to grade, in Markdown."""
    return (DATA / "judge_rubric.md").read_text(encoding="utf-8")


def judge_messages(output: str, item: Item, instruction: InstructionType) -> list[dict[str, str]]:
    """Return the messages that request the grades of one output.

    Each piece of data is a block between two lines with a code. The code is a hash of all data, so
    that an output cannot contain its own code.

    Args:
        output: The output to grade.
        item: What it is graded against; its reference is not shown, so that the judge is
            independent of the rules.
        instruction: The instruction.

    Returns:
        The system message with rubric and code, and the user message with the data.
    """
    blocks = {
        "instruction": asked_for(item, instruction),
        "content": item.content,
        "output": output,
    }
    code = digest(blocks)[:32]
    data = "\n\n".join(
        f"[{code} begin {name}]\n{text}\n[{code} end {name}]" for name, text in blocks.items()
    )
    return [
        {"role": "system", "content": f"{judge_rubric()}\nThe code of this request: {code}\n"},
        {"role": "user", "content": data},
    ]


def asked_for(item: Item, instruction: InstructionType) -> str:
    """Describe an instruction: title, description and the values of its slots.

    Args:
        item: The item, for the slots.
        instruction: The instruction; the first wording replaces a missing description.

    Returns:
        A few lines.
    """
    wording = next(text for texts in instruction.wordings.values() for text in texts)
    lines = [instruction.title, instruction.description or instruction.fill(wording, item.slots)]
    lines += [f"{slot}: {item.slots[slot]}" for slot in instruction.slots]
    return "\n".join(lines)


def request_body(model: str, seed: int, messages: list[dict[str, str]]) -> Body:
    """Return the body of a chat completions request."""
    schema = {"name": "grades", "strict": True, "schema": SCHEMA}
    return {
        "model": model,
        "messages": messages,
        "response_format": {"type": "json_schema", "json_schema": schema},
        "temperature": 0,
        "seed": seed,
        "max_completion_tokens": MOST_TOKENS,
    }


def request_digest(base_url: str, body: Body) -> str:
    """Return the digest of everything that determines the answer: endpoint and body."""
    return digest({"version": VERSION, "base_url": base_url, "body": body})
