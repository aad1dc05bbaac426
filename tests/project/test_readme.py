"""What the README shows must run as it stands."""

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_the_real_model_loads_as_shown():
    names: dict = {}
    exec(compile(BLOCKS[0], "README.md", "exec"), names)
    assert names["model"].saes.layers


def test_the_example_of_an_own_instruction_runs(capsys):
    code = BLOCKS[1]
    assert len(BLOCKS) == 2
    assert len(code.splitlines()) <= 25
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    found = names["found"]
    assert found.grades["prompting"].proportion("strict").value > 0.8
    assert found.grades["random latents"].proportion("loose").value < 0.1
    assert "signed latents" in capsys.readouterr().out
