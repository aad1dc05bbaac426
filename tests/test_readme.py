"""What the README shows must run as it stands."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_example_of_an_own_instruction_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(code.splitlines()) <= 25
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["grades"].proportion("loose").n == 100
    assert "sensitivity" in capsys.readouterr().out
