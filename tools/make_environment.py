"""Generate environment.yml from pyproject.toml, so that the two stay consistent.

Run by ``make environment``; a test compares the file with the generated text.
"""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def environment_yml(pyproject: str) -> str:
    """Return the text of environment.yml.

    The conda environment provides Python, pip and make. pip installs the project with all extras at
    the locked versions, so that pyproject.toml remains the only list of version ranges.

    Args:
        pyproject: The text of pyproject.toml.

    Returns:
        The contents of the file.
    """
    project = tomllib.loads(pyproject)["project"]
    extras = ",".join(sorted(project["optional-dependencies"]))
    return "\n".join(
        [
            "# Made by 'make environment' from pyproject.toml; do not edit.",
            "# conda env create --file environment.yml && conda activate saif-book",
            "# Then, once, the real model (93 MB): python -m saif_helpers.hub.smollm2",
            "name: saif-book",
            "channels:",
            "  - conda-forge",
            "dependencies:",
            f"  - python {project['requires-python']}",
            "  - pip",
            "  - make",
            "  - pip:",
            "      - --requirement requirements.lock",
            f"      - --editable .[{extras}]",
            "",
        ]
    )


if __name__ == "__main__":
    text = environment_yml((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (ROOT / "environment.yml").write_text(text, encoding="utf-8")
    print("environment.yml written")
