import json
import re
from importlib.metadata import version

import fake_hub
import judge_models
import nbformat
import pytest
import tiny
from test_chapters import SMALL_SIZES

from saif_helpers.provenance import provenance
from saif_helpers.results import PROVENANCE, read_results, results_table
from saif_helpers.zoo import ZOO


def test_provenance_says_with_what_and_when():
    made = provenance(tiny.wrapped("gemma2"), seed=3)
    assert set(made) == PROVENANCE
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

    def small(*arguments):
        notebook = whole(*arguments)
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
    folder = make("C1")
    results = read_results(folder / "one.json")
    assert list(results.checks) == [("french", "C1")]
    made = results.provenance
    assert made["model"] == "gemma-3-270m-it"
    (commit,) = (tmp_path / "hub").glob("models--google--gemma-3-270m-it/snapshots/*")
    assert made["commit"] == commit.name
    path = "google/gemma-scope-2-270m-it/resid_post_all/layer_1_width_16k_l0_small"
    assert made["saes"]["layer 1, width 16384"] == path
    before = (folder / "one.json").read_bytes()
    assert make("C1") == folder
    assert (folder / "one.json").read_bytes() == before
    table = results_table(folder)
    (row,) = table.to_dict("records")
    assert row["C1"] in ("supported", "not supported", "undecided")
    assert row["SAE"] == path
    assert "torch" in row["versions"]
    assert row["seed"] == 0
    assert ZOO[row["model"]]


def test_no_file_no_results(tmp_path):
    assert results_table(tmp_path / "nothing").empty


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a result file"),
        ("[]", "is not a result file"),
        ('{"rows": []}', r"is not a result file \('provenance'\)"),
        ('{"rows": [], "provenance": {"model": "m"}}', "lacks commit, date, dtype"),
        (json.dumps({"rows": [{}], "provenance": dict.fromkeys(PROVENANCE)}), "lacks checks, code"),
    ],
)
def test_a_file_that_does_not_say_what_made_it_is_refused(tmp_path, text, message):
    (tmp_path / "made.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        results_table(tmp_path)


@pytest.mark.parametrize(
    ("made", "check", "message"),
    [
        ({}, {"side": "over"}, r"side\s+Input should be 'above' or 'below'"),
        ({}, {"interval": {"value": 0.5, "low": "half", "high": 1.0, "n": 9}}, r"interval.low"),
        ({}, None, "at least 1 item"),
        ({"saes": {}}, {}, "at least 1 item"),
        ({"versions": None}, {}, "valid dictionary"),
    ],
)
def test_a_file_with_values_that_mean_nothing_is_named(tmp_path, made, check, message):
    """A side that is neither of the two was read as "below", and turned a verdict around."""
    interval = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
    sound = {"what": "share", "interval": interval, "side": "above", "threshold": 0.3}
    row = {"size": "16k", "instruction": "french", "name": "C1", "code": "x"}
    about = dict.fromkeys(PROVENANCE, "?") | {"saes": {"layer 1": "p"}, "versions": {"torch": "2"}}

    def table(about, checks):
        data = {"provenance": about, "rows": [row | {"checks": checks}]}
        (tmp_path / "made.json").write_text(json.dumps(data))
        return results_table(tmp_path)

    assert table(about, [sound])["C1"].tolist() == ["supported"]
    with pytest.raises(ValueError, match=rf"(?s)made.json is not a result file .*{message}"):
        table(about | made, [] if check is None else [sound | check])
