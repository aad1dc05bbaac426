"""The page of the package's public names: all of them, in order, each with an example that runs."""

import dataclasses
import doctest
import importlib
import inspect
import re
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from functools import reduce
from pathlib import Path

import pytest
from api_reference import _returns, dataclass_signature, function_signature
from jaxtyping import Float
from torch import Tensor

import saif_helpers as saif
from saif_helpers.generation.interventions import Steering

BOOK = Path(__file__).parents[2] / "book"
PAGE = (BOOK / "api.md").read_text(encoding="utf-8")
NAMED = re.findall(r"^\.\. auto(?:function|class|exception):: (\w+)$", PAGE, re.MULTILINE)
(PREPARATION,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
FINDER = doctest.DocTestFinder(exclude_empty=True)
CONTINUES = {"Study": "study_instruction"}  # whose example ends in what the first one shows


class ShownOutputs(doctest.OutputChecker):
    """Compares where an example shows an output, and is content with any where it shows none."""

    def check_output(self, want, got, optionflags):
        return not want or super().check_output(want, got, optionflags)


@pytest.fixture(scope="module")
def prepared():
    names: dict = {}
    exec(compile(PREPARATION, "book/api.md", "exec"), names)
    return names


def examples(name, names):
    """Return the examples of a public name and of its methods, which share these names."""
    found = FINDER.find(getattr(saif, name), name)
    for one in found:
        one.globs = names
    return found


def run(tests):
    """Run examples; return a report of those that failed."""
    runner, said = doctest.DocTestRunner(ShownOutputs(), verbose=False), []
    for one in tests:
        runner.run(one, out=said.append, clear_globs=False)
    return "".join(said)


def test_the_page_has_every_public_name_once_and_no_other():
    assert sorted(NAMED) == sorted(saif.__all__)


def test_functions_are_shown_as_functions_and_classes_as_classes():
    for kind, name in re.findall(r"^\.\. auto(\w+):: (\w+)$", PAGE, re.MULTILINE):
        value = getattr(saif, name)
        fits = (
            inspect.isclass(value) if kind in ("class", "exception") else inspect.isfunction(value)
        )
        assert fits, f"{name} is no {kind}"


def member(path):
    """Return what a dotted path names, such as ``"saif_helpers.Judge.grade"``."""
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        with suppress(ImportError):
            module = importlib.import_module(".".join(parts[:end]))
            return reduce(getattr, parts[end:], module)
    raise ImportError(path)


@pytest.mark.parametrize("path", re.findall(r"^\.\. auto\w+:: (\w+\..+)$", PAGE, re.MULTILINE))
def test_what_is_returned_is_there(path):
    assert inspect.isclass(member(path))


def test_links_of_the_books_pages_lead_to_names_of_the_page():
    pages = [*BOOK.glob("*.ipynb"), *BOOK.glob("*.md")]
    texts = {page.name: page.read_text(encoding="utf-8") for page in pages}
    link = re.compile(r"\(#(saif_helpers\.[\w.]+)\)|<(saif_helpers\.[\w.]+)>`")
    found = {(name, a or b) for name, text in texts.items() for a, b in link.findall(text)}
    assert len(found) > 10
    for name, path in found:
        assert path.split(".")[1] in NAMED, f"{name} links {path}"
        assert member(path) is not None


SLOW = ("Study",)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in saif.__all__],
)
def test_its_example_runs(name, prepared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # what an example writes
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    names = dict(prepared)
    if name in CONTINUES:
        assert not run(examples(CONTINUES[name], names))
    found = examples(name, names)
    own = [one for one in found if one.name == name]
    runs = [e for one in own for e in one.examples if doctest.SKIP not in e.options]
    assert runs, f"the docstring of {name} has no example that runs"
    report = run(found)
    assert not report, report


@pytest.mark.parametrize(
    ("example", "passes"),
    [
        (">>> 1 + 1\n2\n", True),
        (">>> 1 + 1\n", True),
        (">>> 1 + 1\n3\n", False),
        (">>> unknown\n", False),
    ],
)
def test_a_wrong_example_is_found(example, passes):
    one = doctest.DocTestParser().get_doctest(example, {}, "it", None, 0)
    report = run([one])
    assert (not report) == passes


def takes(
    first: "list[int]", *others: Float[Tensor, "pairs d_model"], of: Steering = None
) -> dict[int, Float[Tensor, "pairs d_model"]]:
    """Do nothing."""


class Owner:
    def method(self, first: int = 1) -> "Owner":
        """Do nothing."""


@dataclass
class Parent:
    layer: int
    _: KW_ONLY
    of: Steering = None


@dataclass
class Child(Parent):
    names: dict[str, int] = field(default_factory=dict)


def test_signatures_are_shown_as_the_source_has_them():
    array = "Float[Tensor, 'pairs d_model']"
    shown = f"(first: 'list[int]', *others: {array}, of: Steering=None)"
    assert function_signature(takes, method=False) == (shown, f"dict[int, {array}]")
    assert function_signature(Owner.method, method=True) == ("(first: int=1)", "Owner")
    fields = "(layer: int, names: dict[str, int] = dict(), *, of: Steering = None)"
    assert dataclass_signature(Child) == fields


@pytest.mark.parametrize("name", saif.__all__)
def test_every_signature_can_be_shown(name):
    value = getattr(saif, name)
    if dataclasses.is_dataclass(value):
        shown = dataclass_signature(value)
        assert "<factory>" not in shown
    else:
        called = value.__init__ if inspect.isclass(value) else value
        if not inspect.isfunction(called):
            return  # an error, made like any other
        shown, _ = function_signature(called, method=inspect.isclass(value))
    for argument in inspect.signature(value).parameters:
        assert re.search(rf"\b{argument}\b", shown)


def test_a_colon_in_what_is_returned_ends_no_type():
    lines = ["Do.", "", "Returns:", "    A row for each: all of it,", "    and more.", ""]
    _returns(None, "function", "it", takes, {}, lines)
    assert lines == ["Do.", "", ":returns: A row for each: all of it,", "    and more.", ""]
