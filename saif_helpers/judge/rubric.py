"""What a judge is asked: the rubric, and one output as data that cannot pass for the rubric.

The paper's judge is GPT-4o-mini (standing: reported). Its prompt is not known: this rubric is this
book's (standing: ours) and says of strict and loose what `graders` says.
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
    """Return the rubric: the words, in Markdown, that tell a judge how to grade."""
    return (DATA / "judge_rubric.md").read_text(encoding="utf-8")


def judge_messages(output: str, item: Item, instruction: InstructionType) -> list[dict[str, str]]:
    """Write the messages that ask for the grades of one output.

    Each piece of data stands in a block between two lines with a code. The code is a hash of all
    the data, so an output that held its own code would have to hold its own hash.

    Args:
        output: The output to grade.
        item: What it is graded against; its reference is not shown, so that the judge is a second
            opinion and not the same comparison again.
        instruction: What was asked for.

    Returns:
        The system message, which is the rubric and the code, and the user message, the data.
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
    """Describe what an instruction asks for: title, description and what fills its slots.

    Args:
        item: The item, for the slots.
        instruction: The instruction; one without a description is told by its first wording.

    Returns:
        A few lines.
    """
    wording = next(text for texts in instruction.wordings.values() for text in texts)
    lines = [instruction.title, instruction.description or instruction.fill(wording, item.slots)]
    lines += [f"{slot}: {item.slots[slot]}" for slot in instruction.slots]
    return "\n".join(lines)


def request_body(model: str, seed: int, messages: list[dict[str, str]]) -> Body:
    """Return what a request sends, as the chat completions endpoint wants it."""
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
    """Return a name for all that determines the answer: the endpoint and what is sent to it."""
    return digest({"version": VERSION, "base_url": base_url, "body": body})
