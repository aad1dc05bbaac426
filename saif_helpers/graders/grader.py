"""A grader, and what an output is graded against.

Strict: the output follows the instruction completely and is about the right content. Loose: it
recognisably follows the instruction. The abstract gives no definitions (standing: ours).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from saif_helpers._internal.checked import checked


@checked
@dataclass(frozen=True)
class Item:
    """What an output is graded against.

    >>> item = saif.Item("The cat sleeps.", reference="Le chat dort.")
    >>> french.grader.strict("Le chat dort.", item)
    True

    Attributes:
        content: The sentence that the instruction was applied to.
        reference: The only correct answer, or None if unknown.
        slots: Values of the instruction's slots, for example ``{"keyword": "garden"}``.
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
        strict: Whether the output follows the instruction completely, about the right content.
        loose: Whether the output recognisably follows the instruction.
    """

    strict: OutputCheck
    loose: OutputCheck
