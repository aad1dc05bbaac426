import nbformat
import pytest
from check_verdicts import BUILT, differences
from judge_models import CHAPTERS
from nbformat.v4 import new_code_cell, new_notebook, new_output

from saif_helpers.verdicts import GLUE

CHECK = (
    '[{"what": "share", "interval": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}, '
    '"side": "above", "threshold": 0.3}]'
)


def row(name, threshold=0.3):
    interval = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
    check = {"what": "share", "interval": interval, "side": "above", "threshold": threshold}
    return BUILT | {"name": name, "code": "a", "checks": [check]}


@pytest.fixture
def executed(tmp_path):
    for name, chapter in CHAPTERS.items():
        output = new_output(
            "display_data",
            data={f"{GLUE}text/plain": CHECK},
            metadata={"scrapbook": {"name": f"{name}-data", "mime_prefix": GLUE}},
        )
        notebook = new_notebook(cells=[new_code_cell("", outputs=[output])])
        nbformat.write(notebook, tmp_path / f"{chapter}.ipynb")
    return tmp_path


def test_a_record_that_agrees_is_let_pass(executed):
    assert differences([row(name) for name in CHAPTERS], executed) == []


def test_another_verdict_and_a_missing_one_are_told(executed):
    rows = [row(name, 0.7 if name == "C4" else 0.3) for name in CHAPTERS if name != "C6"]
    rows.append(row("C6") | {"size": "L"})
    found = differences(rows, executed)
    assert [line[:3] for line in found] == ["C4:", "C6:"]
    assert "finds 'supported', the record says 'not supported'" in found[0]
    assert "the record says 'nothing'" in found[1]
