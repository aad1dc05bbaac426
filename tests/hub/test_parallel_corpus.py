import json
import sys
from pathlib import Path

import datasets
import pytest
from refusals import refused

from saif_helpers.hub.parallel_corpus import FLORES, load_parallel
from saif_helpers.instructions import load_instructions

TEXTS = {
    "eng_Latn": {1: "The boat was late.", 2: "Nobody answered the door."},
    "fra_Latn": {2: "Personne n'a ouvert la porte.", 1: "Le bateau était en retard."},
    "deu_Latn": {1: "Das Boot hatte Verspätung.", 2: "Niemand öffnete die Tür."},
    "ita_Latn": {1: "La barca era in ritardo."},
}
CONFIGURATION = "- config_name: {name}\n  data_files:\n  - split: devtest\n    path: {name}.jsonl\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Write a data set of FLORES+'s layout: a configuration a language, rows with id and text."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    home = tmp_path / "flores"
    home.mkdir()
    for name, texts in TEXTS.items():
        rows = [{"id": key, "text": text, "topic": "news"} for key, text in texts.items()]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (home / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    configurations = "".join(CONFIGURATION.format(name=name) for name in TEXTS)
    (home / "README.md").write_text(f"---\nconfigs:\n{configurations}---\n", encoding="utf-8")
    return home


def load(folder: Path, targets: dict, source="eng_Latn", split="devtest", **columns):
    return load_parallel(source, targets, split, dataset=str(folder), **columns)


def test_rows_are_matched_by_their_identifier(folder):
    contents = load(folder, {"french": "fra_Latn", "german": "deu_Latn"})
    assert [content.text for content in contents] == list(TEXTS["eng_Latn"].values())
    for key, content in enumerate(contents, start=1):
        assert content.references["french"] == TEXTS["fra_Latn"][key]
        assert content.references["german"] == TEXTS["deu_Latn"][key]
        assert content.split == "devtest"


def test_the_references_are_graded_against(folder):
    french = load_instructions("natural")["french"]
    contents = load(folder, {"french": "fra_Latn"})
    first, second = [content.item(french) for content in contents]
    grader = french.grader
    assert grader.strict(TEXTS["fra_Latn"][1], first)
    assert not grader.strict(TEXTS["fra_Latn"][1], second)
    assert grader.loose(TEXTS["fra_Latn"][1], second)


@pytest.mark.parametrize(
    ("asked", "argument"),
    [
        ({"targets": {}}, "targets"),
        ({"targets": {"french": "fra"}}, "dataset"),
        ({"targets": {"french": "fra_Latn"}, "split": "test"}, "dataset"),
        ({"targets": {"x": "ita_Latn"}}, "targets"),
        ({"targets": {"french": "fra_Latn"}, "text_column": "sentence"}, "text_column"),
        ({"targets": {"french": "fra_Latn"}, "id_column": "topic"}, "id_column"),
    ],
)
def test_what_the_data_set_does_not_have_is_refused(folder, asked, argument):
    with refused(argument):
        load(folder, **asked)


@pytest.mark.parametrize("dataset", [FLORES, "no/such/folder"])
def test_without_a_network_the_error_says_what_to_do(tmp_path, monkeypatch, dataset):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(OSError, match=r"cannot be loaded: .* the path of a local folder"):
        load_parallel("eng_Latn", {"french": "fra_Latn"}, "dev", dataset=dataset)


def test_a_gated_data_set_says_how_to_get_it(monkeypatch):
    def refuse(*args, **kwargs):
        raise datasets.exceptions.DatasetNotFoundError("it is a gated dataset on the Hub.")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(OSError, match=r"gated dataset on the Hub\. .* hf auth login"):
        load_parallel("eng_Latn", {"french": "fra_Latn"}, "dev")


def test_a_missing_library_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"missing .* pip install datasets"):
        load_parallel("eng_Latn", {"french": "fra_Latn"}, "dev")
