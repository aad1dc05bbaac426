"""What the README shows must run as it stands."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_example_of_an_own_instruction_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(code.splitlines()) <= 25
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    found = names["found"]
    assert found.grades["prompting"].proportion("strict").value > 0.8
    assert found.grades["random latents"].proportion("loose").value < 0.1
    assert "signed latents" in capsys.readouterr().out
