"""A grader, and what an output is graded against.

Strict: the output does what was asked, completely and about the right content. Loose: what was
asked is recognisably there. The paper's own definitions are not known (standing: ours).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from saif_helpers._internal.checked import checked


@checked
@dataclass(frozen=True)
class Item:
    """What an output is graded against.

    >>> french.grader.strict("Le chat dort.", saif.Item("The cat sleeps.", "Le chat dort."))
    True

    Attributes:
        content: The sentence that the instruction was about.
        reference: The one right answer, or None where none is known.
        slots: What the instruction's slots were filled with, for example ``{"keyword": "garden"}``.
    """

    content: str
    reference: str | None = None
    slots: Mapping[str, str] = field(default_factory=dict)


OutputCheck = Callable[[str, Item], bool]


@checked
@dataclass(frozen=True)
class Grader:
    """Two checks of an output against its item.

    >>> shout = saif.Grader(
    ...     strict=lambda output, item: output == item.content.upper(),
    ...     loose=lambda output, item: output.isupper(),
    ... )
    >>> shout.loose("THE CAT", saif.Item("The cat sleeps."))
    True

    Attributes:
        strict: Whether the output does what was asked, completely and about the right content.
        loose: Whether what was asked is recognisably there.
    """

    strict: OutputCheck
    loose: OutputCheck
