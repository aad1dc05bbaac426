"""The forced first token as an opponent of steering, chosen on validation contents (ours)."""

from collections import Counter
from collections.abc import Sequence

from saif_helpers._internal.arguments import check_some
from saif_helpers._internal.checked import checked
from saif_helpers._internal.errors import ArgumentError
from saif_helpers._internal.types import Style
from saif_helpers.contents import Content
from saif_helpers.grading import GradeOutputs, Grades, Kind, grade
from saif_helpers.instructions import InstructionType
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.prompts import render
from saif_helpers.study.baselines import first_tokens, force_first_token
from saif_helpers.study.sweep import check_by, check_no_test_leakage


@checked
def choose_first_token(
    model: ModelWithSAEs,
    instruction: InstructionType,
    contents: Sequence[Content],
    answers: Sequence[str],
    *,
    n: int = 5,
    by: Kind = "strict",
    style: Style | None = None,
    max_new_tokens: int = 40,
    grader: GradeOutputs = grade,
) -> int:
    """Choose, on validation contents, the first token that is best forced on every output.

    >>> token = choose_first_token(organism, french, validation, outputs)

    Args:
        model: The model.
        instruction: The instruction.
        contents: Validation contents.
        answers: Texts whose most frequent first tokens are tried, such as reference answers.
        n: Number of tokens to try.
        by: The share that decides first.
        style: Style of the prompts.
        max_new_tokens: Maximum number of tokens of an output.
        grader: Function that grades outputs.

    Returns:
        The token; of equally good ones the most frequent.

    Raises:
        ValueError: If all answers are empty, or a content is a test content.
    """
    check_some(contents=contents, answers=answers)
    check_by(by)
    check_no_test_leakage(contents)
    firsts = Counter(first for first in first_tokens(model, answers) if first is not None)
    if not firsts:
        raise ArgumentError("only empty answers given; give some with a first token", "answers")
    prompts = [render(content.text, model.tokenizer, style) for content in contents]
    items = [content.item(instruction) for content in contents]
    tried = {}
    for token, _ in firsts.most_common(n):
        outputs = force_first_token(model, prompts, token, max_new_tokens=max_new_tokens)
        graded = grader(outputs, items, instruction)
        shares = {kind: graded.proportion(kind).value for kind in ("strict", "loose")}
        tried[token] = (shares.pop(by), *shares.values())
    return max(tried, key=tried.get)


def first_word_grades(
    model: ModelWithSAEs,
    instruction: InstructionType,
    answers: Sequence[str],
    *,
    validation: Sequence[Content],
    test: Sequence[Content],
    by: Kind = "strict",
    style: Style | None = None,
    max_new_tokens: int = 40,
    grader: GradeOutputs = grade,
) -> Grades:
    """Grade outputs that begin with the first token that `choose_first_token` has chosen.

    Args:
        model: The model.
        instruction: The instruction.
        answers: As for `choose_first_token`.
        validation: Contents on which the token is chosen.
        test: Contents on which it is reported.
        by: The share that decides first.
        style: Style of the prompts.
        max_new_tokens: Maximum number of tokens of an output.
        grader: Function that grades outputs.

    Returns:
        The grades.

    Raises:
        ValueError: As `choose_first_token`.
    """
    check_some(validation=validation, test=test)
    check_no_test_leakage(validation, test)
    options = {"style": style, "max_new_tokens": max_new_tokens, "grader": grader}
    token = choose_first_token(model, instruction, validation, answers, by=by, **options)
    prompts = [render(content.text, model.tokenizer, style) for content in test]
    outputs = force_first_token(model, prompts, token, max_new_tokens=max_new_tokens)
    return grader(outputs, [content.item(instruction) for content in test], instruction)
