"""The recipes run as the page has them, in its order; what cannot run here is replaced in sight."""

import importlib.util
import re
import warnings
from pathlib import Path

import pytest
import tiny

PAGE = (Path(__file__).parents[2] / "book" / "recipes.md").read_text(encoding="utf-8")
SECTIONS = {
    part.split("\n", 1)[0]: re.findall(r"```(python|text)\n(.*?)```", part, re.DOTALL)
    for part in PAGE.split("\n## ")[1:]
}
MOST_LINES = 10
INSTEAD = {
    "An instruction of your own": {
        "rounds=(4, 8, 16)": "rounds=(2, 4, 8), rules=['signed latents']",
    },
    "Sweep on a GPU": {
        'saif.load("gemma-2-9b-it", layers=[20, 31], device="cuda")': (
            'saif.load("organism", "S", layers=[0, 2], device="cpu")'
        ),
        "[20, 31]": "[0, 2]",
        "[:200]": "[:24]",
        "(name, corpus)": "(name, corpus)[-12:]",
        "**splits)": "**splits, rounds=(2, 4, 12))",
    },
    "Run on NDIF": {
        'nnsight.CONFIG.set_default_api_key("your key")': "",
        'saif.load("llama-3.1-8b-instruct", layers=[31], remote=True)': (
            'saif.load("organism", "S", layers=[2], remote="local")'
        ),
        "[31]": "[2]",
        "[:100]": "[:24]",
    },
}
if importlib.util.find_spec("steering_vectors") is None:
    INSTEAD["Keep and export a vector"] = {"vector.to_steering_vectors()": "None"}
POOR = {"An SAE of your own"}  # the SAE is random here, which the table says in a warning


@pytest.fixture
def folder(tmp_path):
    """Return a folder with the model and the SAE that the recipes find in theirs."""
    tiny.causal_lm("llama").save_pretrained(tmp_path / "my-model")
    tiny.tokenizer().save_pretrained(tmp_path / "my-model")
    tiny.sae(1).save_model(tmp_path / "my-sae")
    return tmp_path


def replaced(section, code):
    for there, here in INSTEAD.get(section, {}).items():
        code = code.replace(there, here)
    return code


def test_there_are_nine_recipes_and_what_is_replaced_is_theirs():
    assert len(SECTIONS) == 9
    assert set(INSTEAD) | POOR <= set(SECTIONS)


@pytest.mark.slow
def test_the_recipes_run_one_after_the_other_and_say_what_the_page_shows(
    folder, monkeypatch, capsys
):
    monkeypatch.chdir(folder)
    names: dict = {}
    for section, blocks in SECTIONS.items():
        codes = [code for kind, code in blocks if kind == "python"]
        assert codes, section
        gone = [there for there in INSTEAD.get(section, {}) if there not in "".join(codes)]
        assert not gone, f"{section} no longer has {gone}"
        for code in codes:
            assert len(code.splitlines()) <= MOST_LINES, section
            with warnings.catch_warnings():
                if section in POOR:
                    warnings.filterwarnings("ignore", "the SAEs of .* are poor on these prompts")
                run = compile(replaced(section, code), f"book/recipes.md: {section}", "exec")
                exec(run, names)
        said = re.sub(r" +$", "", capsys.readouterr().out, flags=re.MULTILINE)
        for shown in (text for kind, text in blocks if kind == "text"):
            assert shown in said, section
