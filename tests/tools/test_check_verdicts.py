import json

import pytest
from check_verdicts import BUILT, differences
from judge_models import CHAPTERS

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
        left = {f"{name}-data": {"output_type": "display_data", "data": {"text/plain": CHECK}}}
        (tmp_path / f"{chapter}.glue.json").write_text(json.dumps(left), encoding="utf-8")
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
