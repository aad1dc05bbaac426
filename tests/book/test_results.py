import json
import re
from importlib.metadata import version

import fake_hub
import judge_models
import nbformat
import pytest
import tiny
from refusals import unreadable
from test_chapters import SMALL_SIZES

from saif_helpers.book.provenance import provenance
from saif_helpers.book.results import (
    Provenance,
    checks_by_claim,
    read_all,
    read_record,
    read_results,
    results_table,
)
from saif_helpers.hub.zoo import ZOO


def test_provenance_says_with_what_and_when():
    made = provenance(tiny.wrapped("gemma2"), seed=3)
    assert Provenance(**made).model_dump() == made
    assert made["model"] == "tiny-gemma2"
    assert made["dtype"] == "float32"
    assert made["saes"]["layer 2, width 64"] == "in memory"
    assert made["versions"]["torch"] == version("torch")
    assert made["hardware"].startswith("CPU")
    assert made["seed"] == 3
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", made["date"])
    assert json.loads(json.dumps(made)) == made


@pytest.fixture
def on_a_fake_model(tmp_path, monkeypatch):
    """Make results on a tiny model in the real file formats, at small sizes."""
    fake_hub.build(tmp_path / "hub", {"gemma-3-270m-it": 2})
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    whole = judge_models.shortened

    def small(*arguments, **options):
        notebook = whole(*arguments, **options)
        notebook.cells.insert(3, nbformat.v4.new_code_cell(SMALL_SIZES))
        return notebook

    monkeypatch.setattr(judge_models, "shortened", small)

    def make(*names):
        where = ["--record", str(tmp_path / "results" / "one.json"), "--instructions", "french"]
        judge_models.main(["--model", "gemma-3-270m-it", *where, "--names", *names])
        return tmp_path / "results"

    return make


def test_results_on_a_real_model_are_made_by_the_chapters_and_carry_what_made_them(
    on_a_fake_model, tmp_path
):
    make = on_a_fake_model
    interval = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
    check = {"what": "share", "interval": interval, "side": "above", "threshold": 0.3}
    steered = {"size": "16k", "instruction": "french", "name": "C3", "code": "a"}
    steered |= {"checks": [check], "provenance": provenance(tiny.wrapped("gemma2"), 0)}
    steered |= {"setting": {"layer": 1}, "also": {"C3-opponents": [check]}}
    (tmp_path / "results").mkdir()
    file = tmp_path / "results" / "one.json"
    file.write_text(json.dumps({"rows": [steered]}), encoding="utf-8")
    folder = make("C1")
    result, earlier = read_results(file)
    assert (earlier.name, result.layer) == ("C3", 1)
    assert set(checks_by_claim([result, earlier])) == {
        ("gemma-3-270m-it 16k", "french", "C1"),
        ("tiny-gemma2 16k", "french", "C3"),
        ("tiny-gemma2 16k", "french", "C3-opponents"),
    }
    assert (result.instruction, result.name) == ("french", "C1")
    made = result.provenance
    assert made.model == "gemma-3-270m-it"
    (commit,) = (tmp_path / "hub").glob("models--google--gemma-3-270m-it/snapshots/*")
    assert made.commit == commit.name
    path = "google/gemma-scope-2-270m-it/resid_post_all/layer_1_width_16k_l0_small"
    assert made.saes["layer 1, width 16384"] == path
    before = (folder / "one.json").read_bytes()
    assert make("C1") == folder
    assert (folder / "one.json").read_bytes() == before
    table = results_table(folder)
    (row,) = table[table["model"] == "gemma-3-270m-it"].to_dict("records")
    assert row["C1"] in ("supported", "not supported", "undecided")
    assert row["SAE"] == path
    assert "torch" in row["versions"]
    assert row["seed"] == 0
    assert ZOO[row["model"]]


def test_no_file_no_results(tmp_path):
    assert results_table(tmp_path / "nothing").empty


INTERVAL = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
CHECK = {"what": "share", "interval": INTERVAL, "side": "above", "threshold": 0.3}
MADE = {
    "model": "gemma-2-2b",
    "commit": None,
    "dtype": "bfloat16",
    "saes": {"layer 1": "p"},
    "versions": {"torch": "2"},
    "hardware": "1 x T4",
    "seed": 0,
    "date": "2026-01-02",
}
ROW = {"size": "16k", "instruction": "french", "name": "C1", "code": "x"}
ROW |= {"checks": [CHECK], "provenance": MADE}


def table(folder, *rows):
    (folder / "made.json").write_text(json.dumps({"rows": rows}))
    return results_table(folder)


def test_results_that_were_made_alike_share_a_row_and_others_do_not(tmp_path):
    later = ROW | {"name": "C2", "provenance": MADE | {"date": "2026-01-05"}}
    elsewhere = ROW | {"name": "C3", "provenance": MADE | {"hardware": "CPU"}}
    found = table(tmp_path, ROW, later, elsewhere)
    assert found["hardware"].tolist() == ["1 x T4", "CPU"]
    assert found["date"].tolist() == ["2026-01-02 to 2026-01-05", "2026-01-02"]
    assert found.loc[0, ["C1", "C2"]].tolist() == ["supported", "supported"]
    assert found.loc[0, "C3"] != "supported"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("{", "the file"),
        ("[]", "the file"),
        ("{}", "rows"),
        (json.dumps({"rows": [{**ROW, "provenance": {"model": "m"}}]}), "provenance.commit"),
        (json.dumps({"rows": [{"name": "C1"}]}), "rows.0.size"),
    ],
)
def test_a_file_that_does_not_say_what_made_it_is_refused(tmp_path, text, field):
    (tmp_path / "made.json").write_text(text)
    with unreadable("made.json") as caught:
        results_table(tmp_path)
    assert f"{field}: " in str(caught.value)


@pytest.mark.parametrize(
    ("made", "check", "field"),
    [
        ({}, {"side": "over"}, "side"),
        ({}, {"interval": {"value": 0.5, "low": "half", "high": 1.0, "n": 9}}, "interval.low"),
        ({}, None, "rows.0.checks"),
        ({"saes": {}}, {}, "provenance.saes"),
        ({"versions": None}, {}, "provenance.versions"),
    ],
)
def test_a_file_with_values_that_mean_nothing_is_named(tmp_path, made, check, field):
    """A side that is neither of the two was read as "below", and turned a verdict around."""
    assert table(tmp_path, ROW)["C1"].tolist() == ["supported"]
    checks = [] if check is None else [CHECK | check]
    with unreadable("made.json") as caught:
        table(tmp_path, ROW | {"checks": checks, "provenance": MADE | made})
    assert f"{field}: " in str(caught.value)


SHARES = {"SAIF": {"strict": [0.5, 0.4, 0.6]}, "decided by": "strict"}


@pytest.fixture
def record(tmp_path):
    def row(name, **more):
        made = {"size": "S", "instruction": "french", "name": name, "code": "x"}
        return made | {"checks": [CHECK]} | more

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


def test_checks_are_read_by_model_instruction_and_name(record):
    found = checks_by_claim(read_record(record))
    assert found["S", "french", "C4"][0].holds
    assert found["S", "french", "C4"][0].interval.low == 0.4
    assert len(found["S", "french", "C3-opponents"]) == 2


def test_rows_of_the_earlier_rules_are_left_out(record):
    """C2 has no layer and C3 on L no shares: their checks were others."""
    rows = read_record(record)
    assert [(row.size, row.name) for row in rows] == [("S", "C1"), ("S", "C3"), ("S", "C4")]
    assert rows[1].shares == SHARES


def test_real_models_come_before_the_organism(tmp_path):
    (tmp_path / "made.json").write_text(json.dumps({"rows": [ROW]}))
    models = [row.model for row in read_all(tmp_path)]
    assert models[0] == "gemma-2-2b 16k"
    assert models[1:] == [row.model for row in read_record()]
    assert {"S", "M", "L"} <= set(models)


def test_the_shipped_record_can_be_read():
    rows = read_record()
    assert {row.name for row in rows} >= {"C1", "C2", "C3", "C4", "C5", "C6"}
    for row in rows:
        if row.name == "C3":
            assert "C3-opponents" in row.also
            for triple in (row.shares["SAIF"]["strict"], row.shares["prompting"]["loose"]):
                value, low, high = triple
                assert 0 <= low <= value <= high <= 1
