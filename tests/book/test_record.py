import json

import pytest

from saif_helpers.book.record import recorded_checks, recorded_shares

INTERVAL = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
CHECK = {"what": "share", "interval": INTERVAL, "side": "above", "threshold": 0.3}
SHARES = {"SAIF": {"strict": [0.5, 0.4, 0.6]}, "decided by": "strict"}


def row(name, **more):
    return {"size": "S", "instruction": "french", "name": name, "checks": [CHECK]} | more


@pytest.fixture
def file(tmp_path):
    rows = [
        row("C1", layer=0),
        row("C2"),
        row("C3", shares=SHARES, also={"C3-opponents": [CHECK, CHECK]}),
        row("C4"),
        row("C3", size="L"),
    ]
    path = tmp_path / "verdicts.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def test_checks_are_read_by_model_instruction_and_name(file):
    found = recorded_checks(file)
    assert found["S", "french", "C4"][0].holds
    assert found["S", "french", "C4"][0].interval.low == 0.4
    assert len(found["S", "french", "C3-opponents"]) == 2


def test_rows_of_the_earlier_rules_are_left_out(file):
    """C2 has no layer and C3 on L no shares: their checks were others."""
    names = {key[2] for key in recorded_checks(file)}
    assert names == {"C1", "C3", "C3-opponents", "C4"}
    assert ("L", "french", "C3") not in recorded_checks(file)


def test_the_shares_behind_c3_are_read(file):
    assert recorded_shares(file) == {("S", "french"): SHARES}


def test_the_shipped_record_can_be_read():
    found = recorded_checks()
    assert {key[2] for key in found} >= {"C1", "C2", "C3", "C3-opponents", "C4", "C5", "C6"}
    for place, shares in recorded_shares().items():
        assert (*place, "C3") in found
        for triple in (shares["SAIF"]["strict"], shares["prompting"]["loose"]):
            value, low, high = triple
            assert 0 <= low <= value <= high <= 1
