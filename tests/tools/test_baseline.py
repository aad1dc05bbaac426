"""The record of what the real model answers is of today's prompts, and a stopped run goes on."""

import json

import make_baseline
from transformers import AutoTokenizer

from saif_helpers.hub.smollm2 import folder


def test_the_record_is_of_the_prompts_that_would_be_asked_now():
    wanted = list(make_baseline.groups(AutoTokenizer.from_pretrained(folder())))
    assert len({group.digest for group in wanted}) == len(wanted) == 33
    record = make_baseline.read()
    assert set(record) == {group.digest for group in wanted}, "make baseline writes it anew"
    for group in wanted:
        row = record[group.digest]
        assert (row["instruction"], row["position"]) == (group.instruction, group.position)
        assert len(row["outputs"]) == len(group.prompts) == make_baseline.N_CONTENTS


def test_what_is_there_is_not_answered_again(tmp_path, monkeypatch):
    wanted = list(make_baseline.groups(AutoTokenizer.from_pretrained(folder())))
    file = tmp_path / "record.json"
    row = {"digest": wanted[0].digest, "instruction": None, "position": None, "outputs": ["kept"]}
    file.write_text(json.dumps({"groups": [row]}))
    asked = []
    monkeypatch.setattr(make_baseline, "ProcessPoolExecutor", FakePool(asked))
    make_baseline.make(file, workers=1)
    found = make_baseline.read(file)
    assert found[wanted[0].digest]["outputs"] == ["kept"]
    assert [group.digest for group in asked] == [group.digest for group in wanted[1:]]
    assert len(found) == len(wanted)


class FakePool:
    """Answers in this process, without the model."""

    def __init__(self, asked):
        self.asked = asked

    def __call__(self, *_, **__):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def map(self, _, groups):
        for group in groups:
            self.asked.append(group)
            yield {"digest": group.digest, "outputs": ["new"]}
