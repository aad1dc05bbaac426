"""Sphinx extension of the book: the API reference, generated from the package's docstrings.

Signatures are shown as they are written in the source, for example
``Float[Tensor, "pairs d_model"]`` rather than the expanded type. A name in single backticks becomes
a link if the page documents it, with or without its module (`steering.generate`), and code
otherwise.
"""

import ast
import dataclasses
import inspect
import re
import textwrap

from docutils import nodes
from sphinx.domains.python import PyObject
from sphinx.util.docfields import TypedField
from sphinx.util.nodes import make_refnode

PACKAGE, PAGE = "saif_helpers", "book/api"
SECTION = re.compile(r"(Returns|Yields):$")


def source_tree(value: object) -> ast.AST:
    """Return the syntax tree of a function or a class.

    Args:
        value: The function or class.

    Returns:
        The node of its definition.
    """
    return ast.parse(textwrap.dedent(inspect.getsource(value))).body[0]


def function_signature(function: object, method: bool) -> tuple[str, str]:
    """Return a function's signature as it is written in its source.

    Args:
        function: The function.
        method: Whether it is a method, whose first argument is omitted.

    Returns:
        The arguments in parentheses, and the return type.
    """
    tree = source_tree(inspect.unwrap(function))
    if method:
        del (tree.args.posonlyargs or tree.args.args)[0]
    returns = tree.returns
    if isinstance(returns, ast.Constant):  # a quoted class name
        return f"({ast.unparse(tree.args)})", str(returns.value)
    return f"({ast.unparse(tree.args)})", ast.unparse(returns) if returns else ""


def dataclass_signature(cls: type) -> str:
    """Return the arguments of a dataclass, with annotations as they are written in the source.

    Args:
        cls: The class.

    Returns:
        The arguments in parentheses.
    """
    written, factories = {}, {}
    for each in reversed(cls.__mro__):
        if dataclasses.is_dataclass(each):
            for line in source_tree(each).body:
                if isinstance(line, ast.AnnAssign):
                    written[line.target.id] = ast.unparse(line.annotation)
    for field in dataclasses.fields(cls):
        if field.default_factory is not dataclasses.MISSING:
            factories[field.name] = f"{field.default_factory.__name__}()"
    shown = []
    for name, argument in inspect.signature(cls).parameters.items():
        if argument.kind is argument.KEYWORD_ONLY and "*" not in shown:
            shown.append("*")
        default = factories.get(name, repr(argument.default))
        given = f" = {default}" if argument.default is not argument.empty else ""
        shown.append(f"{name}: {written[name]}{given}")
    return f"({', '.join(shown)})"


def _signature(app, what, name, value, options, arguments, returns) -> tuple[str, str] | None:
    """Return a signature as it is written in the source."""
    if dataclasses.is_dataclass(value):
        return dataclass_signature(value), ""
    if inspect.isclass(value):
        own = "__init__" in vars(value)
        return (function_signature(value.__init__, method=True)[0] if own else "", "")
    if inspect.isroutine(value):
        return function_signature(value, method=what == "method")
    return None


def _returns(app, what, name, value, options, lines: list[str]) -> None:
    """Prevent Napoleon from parsing the text before a colon in ``Returns`` as a type."""
    start = 0
    while start < len(lines):
        found = SECTION.match(lines[start])
        if found and start + 1 < len(lines):
            lines[start : start + 2] = [f":{found[1].lower()}: {lines[start + 1].strip()}"]
        start += 1


def _link(app, env, node, contnode) -> nodes.Node | None:
    """Resolve an abbreviated or qualified name in a docstring; show an unknown name as code."""
    if node.get("refdomain") != "py" or node["refdoc"] != PAGE:
        return None  # on other pages an unresolved reference is an error
    objects = env.get_domain("py").objects
    parts = node["reftarget"].split(".")
    for start in range(len(parts)):
        full = ".".join([PACKAGE, *parts[start:]])
        if full in objects:
            entry = objects[full]
            return make_refnode(app.builder, PAGE, entry.docname, entry.node_id, contnode, full)
    return contnode


def setup(app) -> dict[str, bool]:
    """Connect the extension to Sphinx.

    Args:
        app: The Sphinx application.

    Returns:
        The extension's metadata: it is safe for parallel reading and writing.
    """
    for extension in ("sphinx.ext.autodoc", "sphinx.ext.napoleon"):
        app.setup_extension(extension)
    for field in PyObject.doc_field_types:
        if isinstance(field, TypedField) and field.name == "variable":
            field.label = "Attributes"
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-process-docstring", _returns, priority=400)  # before Napoleon
    app.connect("missing-reference", _link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
