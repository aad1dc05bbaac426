"""Graders of response language and response format for real models, which need no reference.

*Strict*: followed completely: every sentence in the language, JSON that parses, code that compiles,
items numbered in order, a poem or an e-mail with its end. *Loose*: recognisably followed as far as
the output goes, since the token limit truncates most outputs. All rules are this book's (standing:
ours); the tests report their agreement with manual labels.
"""

import ast
import json
import re
import warnings

from saif_helpers._internal.errors import ArgumentError
from saif_helpers.graders.grader import Grader, Item, OutputCheck
from saif_helpers.graders.natural import answer
from saif_helpers.graders.text import without_thought, words_of
from saif_helpers.graders.translation import AMONG, FEWEST_WORDS, all_in, foreign_letters, mostly_in

FEWEST_ITEMS = 2
FEWEST_LINES = 4
LONGEST_LINE = 80  # characters of a line of verse
FEWEST_BODY_WORDS = 5
_END = re.compile(r"[.!?…][\"'”»)*\s]*\Z")
_FENCE = re.compile(r"```[^\S\n]*(\w*)[^\S\n]*\n(.*?)(?:\n```|\Z)", re.DOTALL)
_CLOSED = re.compile(r"```[^\S\n]*(\w*)[^\S\n]*\n(.*?)\n```", re.DOTALL)
_PYTHON = ("python", "python3", "py", "")  # accepted names of a code block
_CODE_LINE = re.compile(
    r"^\s*(import \w|from [\w.]+ import |def \w+\(|class \w+[(:]|print\(|for .+ in .+:|if .+:\s*$"
    r"|while .+:|return\b|\w+ = \S)",
    re.MULTILINE,
)
_ITEM = re.compile(r"^\s*\**(\d+)[.)]\**\s+\S")
_MARK = re.compile(r"^\s*(\d+[.)]|[-*•#>]|```|[{\[])")
_DEAR = (
    r"dear|to whom|ch[eè]re?s?|estimad[oa]s?|querid[oa]s?|lieber?|sehr geehrte[rn]?"  # of letters
)
_HELLO = (
    r"hi|hello|hey|greetings|good (morning|afternoon|evening)|bonjour|salut|hola|buen[oa]s \w+"
    r"|hallo|guten \w+"  # of chat too
)
_GREETING = re.compile(rf"^\W*({_DEAR}|{_HELLO})\b.{{0,60}}$", re.IGNORECASE | re.MULTILINE)
_SALUTATION = re.compile(
    rf"^\W*(({_DEAR})\b.{{0,60}}[,:!]|({_HELLO})\b[^.!?]{{0,40}}[,:])\W*$", re.IGNORECASE
)
_SIGN_OFF = re.compile(
    r"^\s*((best|kind|warm|yours|sincerely|regards|thanks|thank you|cheers|love|take care|see you"
    r"|respectfully|looking forward|cordialement|bien à|amicalement|sincèrement|merci|saludos"
    r"|atentamente|un abrazo|gracias|viele|mit freundlichen|herzlich\w*|liebe grüße|danke)\b)"
    r".{0,50}$",
    re.IGNORECASE | re.MULTILINE,
)
_SUBJECT = re.compile(r"^\W*(subject|objet|sujet|asunto|betreff)\W*:", re.IGNORECASE | re.MULTILINE)


def answers_in(language: str) -> Grader:
    """Return a grader for the language of an answer, whatever its content.

    Args:
        language: One of the ISO 639-1 codes in `translation.AMONG`.

    Returns:
        Strict: every part is in the language, with at least `FEWEST_WORDS` words and the end of a
        sentence. Loose: at least half of the parts are in the language.

    Raises:
        ValueError: If the language is not one of `translation.AMONG`.
    """
    if language not in AMONG:
        raise ArgumentError(
            f"language {language!r} given; it must be one of {', '.join(AMONG)}", "language"
        )

    def strict(output: str, item: Item) -> bool:
        text = answer(output, item)
        whole = len(words_of(text)) >= FEWEST_WORDS and _END.search(text)
        return bool(whole) and all_in(text, language) and not foreign_letters(text, item)

    def loose(output: str, item: Item) -> bool:
        return len(words_of(output)) > 1 and mostly_in(output, language)

    return _grader(strict, loose)


def _grader(strict: OutputCheck, loose: OutputCheck) -> Grader:
    """Return a grader of the output without its reasoning block, in which strict implies loose."""
    return Grader(
        lambda o, i: strict(without_thought(o), i),
        lambda o, i: any(check(without_thought(o), i) for check in (loose, strict)),
    )


def _body(output: str, begins: re.Pattern) -> str:
    """Return an output without its lead-in line, unless that line starts the answer."""
    text = output.strip()
    first, _, rest = text.partition("\n")
    leads_in = first.rstrip().endswith((":", "!")) and rest.strip() and not begins.match(first)
    return rest.strip() if leads_in else text


def _is_program(output: str, item: Item) -> bool:
    """Return whether the code blocks, or the whole text if there are none, are a program."""
    blocks = [code for name, code in _CLOSED.findall(output) if name.casefold() in _PYTHON]
    return _compiles("\n".join(blocks) if blocks else output.strip())


def _compiles(code: str) -> bool:
    """Return whether code compiles and does something; a single word is an expression too."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(code)
            compile(tree, "an output", "exec")  # a return outside a function parses
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(_does_something(statement) for statement in tree.body)


def _does_something(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Call)
    bare_name = isinstance(statement, ast.AnnAssign) and statement.value is None
    return not (bare_name or isinstance(statement, ast.Pass))


def _looks_like_program(output: str, item: Item) -> bool:
    fence = _FENCE.search(output)
    name = fence[1].casefold() if fence else ""
    if fence and name in _PYTHON and (name or _CODE_LINE.search(fence[2])):
        return True
    lines = [line for line in output.splitlines() if line.strip() and line.lstrip()[0] != "#"]
    code = sum(bool(_CODE_LINE.match(line)) for line in lines)
    return bool(lines) and bool(_CODE_LINE.match(lines[0])) and 2 * code >= len(lines)


def _is_json(output: str, item: Item) -> bool:
    blocks = _CLOSED.findall(output)
    text = blocks[0][1] if len(blocks) == 1 else _body(output, re.compile(r"[{\[]"))
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict | list) and len(found) > 0


def _begins_like_json(output: str, item: Item) -> bool:
    fence = _FENCE.search(output)
    text = fence[2] if fence else _body(output, re.compile(r"[{\[]"))
    begins = r"\W{0,3}\s*([\w -]{0,40}[:\uff1a\n]\s*)?(\{\s*\"|\[\s*[\[{\"\d])"
    return re.match(begins, text) is not None


def _verse(output: str) -> list[str]:
    """Return the lines of verse of an output; none if some lines are not verse."""
    if _SUBJECT.search(output) or _FENCE.search(output):
        return []
    lines = [line.strip() for line in _body(output, _MARK).splitlines() if line.strip()]
    if len(lines) > FEWEST_LINES and not _END.search(lines[0]) and lines[0].istitle():
        lines = lines[1:]  # a title
    if any(_MARK.match(line) or len(line) > LONGEST_LINE for line in lines):
        return []
    if lines and _SALUTATION.match(lines[0]):
        return []
    return lines if sum(len(line.split()) >= 3 for line in lines) > len(lines) / 2 else []


def _is_poem(output: str, item: Item) -> bool:
    lines = _verse(output)
    return len(lines) >= FEWEST_LINES and bool(_END.search(lines[-1]))


def _looks_like_poem(output: str, item: Item) -> bool:
    lines = _verse(output)
    code = sum(bool(_CODE_LINE.match(line)) for line in lines)
    return len(lines) >= FEWEST_LINES - 1 and code < len(lines) / 2


def _items(output: str) -> list[int]:
    """Return the numbers of the numbered lines, in order."""
    found = (_ITEM.match(line) for line in output.splitlines())
    return [int(match[1][:6]) for match in found if match]


def _is_numbered(output: str, item: Item) -> bool:
    """Return whether a text is a list with items 1, 2, 3 ... that is not truncated."""
    text = _body(output, _ITEM)
    numbers, lines = _items(text), [line for line in text.splitlines() if line.strip()]
    if len(numbers) < FEWEST_ITEMS or numbers != list(range(1, len(numbers) + 1)):
        return False
    others = [line for line in lines if not _ITEM.match(line) and not line.startswith((" ", "\t"))]
    ends = [bool(_END.search(line)) for line in lines]
    cut_off = all(ends[:-1]) and not ends[-1]
    return bool(_ITEM.match(text)) and not others and not cut_off


def _has_items(output: str, item: Item) -> bool:
    return _items(_body(output, _ITEM))[:1] == [1]


def _is_email(output: str, item: Item) -> bool:
    greeting, sign_offs = _GREETING.search(output), [*_SIGN_OFF.finditer(output)]
    if greeting is None or not sign_offs or sign_offs[-1].start() <= greeting.end():
        return False
    sign_off = sign_offs[-1]
    body = output[greeting.end() : sign_off.start()]
    return len(words_of(body)) >= FEWEST_BODY_WORDS and len(output[sign_off.end() :].split()) <= 12


def _begins_like_email(output: str, item: Item) -> bool:
    lines = [line for line in output.strip().splitlines() if line.strip()][:3]
    return any(_SUBJECT.match(line) or _SALUTATION.match(line) for line in lines)


RESPONSE_GRADERS: dict[str, Grader] = {
    "answer_french": answers_in("fr"),
    "answer_german": answers_in("de"),
    "answer_spanish": answers_in("es"),
    "python": _grader(_is_program, _looks_like_program),
    "json_answer": _grader(_is_json, _begins_like_json),
    "poem": _grader(_is_poem, _looks_like_poem),
    "list": _grader(_is_numbered, _has_items),
    "email": _grader(_is_email, _begins_like_email),
}
"""Name of an instruction in ``natural_instructions.json`` to its grader."""
