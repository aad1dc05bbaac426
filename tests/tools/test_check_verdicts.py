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


def glued(text):
    return {"output_type": "display_data", "data": {"text/plain": text}}


@pytest.fixture
def executed(tmp_path):
    for name, chapter in CHAPTERS.items():
        left = {f"{name}-data": glued(CHECK), f"{name}-judged-data": glued('{"layer": 2}')}
        left |= {"C3-setting-data": glued('{"layer": 2, "k": 15}')}
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


def test_latents_that_are_judged_elsewhere_than_they_steer_are_told(executed):
    path = executed / f"{CHAPTERS['C2']}.glue.json"
    left = json.loads(path.read_text(encoding="utf-8"))
    left["C2-judged-data"] = glued('{"layer": 5}')
    path.write_text(json.dumps(left), encoding="utf-8")
    (found,) = differences([row(name) for name in CHAPTERS], executed)
    assert found.startswith("C2 is judged at layer 5, but C3's search chose layer 2")
