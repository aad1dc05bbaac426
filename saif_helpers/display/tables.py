"""Tables for display: numbers written as text, every text escaped by pandas as usual."""

from collections.abc import Hashable, Mapping

import pandas as pd


def formatted(
    table: pd.DataFrame, formats: Mapping[Hashable, str], other: str = "{:.2f}"
) -> pd.DataFrame:
    """Write the numbers of a table as text, column by column.

    pandas' own ``Styler`` would do it too, but does not escape the texts next to the numbers.

    >>> formatted(pd.DataFrame({"share": [0.25], "size": [1.234]}), {"share": "{:.0%}"})
      share  size
    0   25%  1.23

    Args:
        table: The table.
        formats: Column to the format of its numbers.
        other: Format of all other columns with fractions; whole numbers stay as they are.

    Returns:
        The table with texts in place of numbers; a missing number is "-".
    """

    def written(value: object, column: Hashable) -> object:
        if pd.api.types.is_float(value) and value != value:
            return "-"
        if column in formats and pd.api.types.is_number(value):
            return formats[column].format(value)
        return other.format(value) if pd.api.types.is_float(value) else value

    columns = {name: [written(v, name) for v in table[name]] for name in table.columns}
    shown = pd.DataFrame(columns, index=table.index, dtype=object)
    shown.columns = table.columns
    return shown
