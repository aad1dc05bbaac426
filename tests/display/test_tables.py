"""Numbers are written as a column's format says; texts stay texts, which pandas escapes."""

import pandas as pd

from saif_helpers.display.tables import formatted


def test_numbers_are_written_by_column():
    table = pd.DataFrame(
        {"share": [0.256, float("nan")], "size": [1.0, 22.345], "n": [3, 4], "name": ["<b>", "x"]}
    )
    shown = formatted(table, {"share": "{:.0%}"})
    assert shown.to_dict("list") == {
        "share": ["26%", "-"],
        "size": ["1.00", "22.34"],
        "n": [3, 4],
        "name": ["<b>", "x"],
    }
    assert "&lt;b&gt;" in shown.to_html()


def test_columns_of_two_levels_stay_so():
    table = pd.concat(
        {"one": pd.DataFrame({"a": [0.5]}), "two": pd.DataFrame({"a": [0.5]})}, axis=1
    )
    shown = formatted(table, {("one", "a"): "{:.0%}"}, "{:.1f}")
    assert shown.iloc[0].tolist() == ["50%", "0.5"]
    assert shown.columns.equals(table.columns)
