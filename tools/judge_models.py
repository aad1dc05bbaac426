"""Judge the paper's claims on other models: run the chapters on each, keep what they find.

``make verdicts`` runs the same chapters as the book, up to the cell that records the verdict, with
one cell put behind their configuration cell that sets the size of the model and the instruction.
What they record goes to ``saif_helpers/data/verdicts.json``, which the chapter on scale shows.
What is there already, made by the same cells, is not made again: a stopped run goes on.

``make results MODEL=gemma-2-2b-it`` does the same on a real model, and writes a file of its own
to ``book/results``, where each result says what it was made with.
"""

import argparse
import ast
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from tqdm import tqdm

from saif_helpers.cache import entry as entries

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "saif_helpers" / "data" / "verdicts.json"
PROVENANCE = (
    "from saif_helpers.book.provenance import record_provenance\n\nrecord_provenance(model, SEED)"
)
KEEP = """\
from dataclasses import asdict

vector.save("results/{file}.safetensors", model, settings=asdict(chosen))"""
"""What keeps the vector that the steering chapter has tested, where a real model was steered."""
RESULTS = ROOT / "book" / "results"
CHAPTERS = {
    "C1": "03_finding_the_latents",
    "C2": "06_semantic_proximity",
    "C3": "04_steering",
    "C4": "07_how_many_latents",
    "C5": "08_final_layer",
    "C6": "09_instruction_position",
    "rules": "10_baselines",
}
"""What is recorded, and the chapter that does; "rules" sets the baselines against the paper's."""
SIZES = ("S", "S-1", "S-2", "M", "L")
AT_THE_STEERED_LAYER = ("C1", "C2")
"""Claims that are judged at the layer that C3's search chose, with the latents that steer."""
ALSO = {"C3": ("C3-opponents",)}
"""What else a chapter records: C3's third line, which has a verdict of its own."""
INSTRUCTIONS = {"french": 26, "german": 26, "uppercase": 29}
"""The instructions, and the most tokens of an output; every reference is shorter."""
NATURAL = ("answer_french", "answer_spanish", "answer_german", "python", "json", "poem")
NATURAL += ("french", "keyword", "summarise")
"""The instructions of a small real model: those that it follows, of each kind, and the paper's."""
SMALLER = {
    "smollm2-135m-instruct": {
        "MAX_NEW_TOKENS": {"natural": 24},
        "STRENGTHS": (1.0, 3.0, 8.0),
        "DECAYS": (0.8, 1.0),
        "ROUNDS": (4, 8, 16, 32),
        "N_PAIRS": 64,
        "N_IDENTIFICATION": 64,
        "N_TEST": 100,
        "N_TEST_PLACEMENT": 20,
        "N_CURVE": 20,
        "N_RANDOM": 2,
    }
}
"""Sizes with which two cores make the record of a real model in hours: fewer settings and sentences
in the first rounds, not fewer in the test. The search extends the strengths where it must."""
EARLIER = "2097bcc"
"""The commit whose chapters made the rows that were not made again since. Functions have been
renamed and moved after it; ``make verdicts`` makes every row by the chapters as they are."""
TIME_LIMIT = 1800  # seconds for one cell; on a real model there is none
ORGANISM = "organism"


def config_cell(notebook: NotebookNode) -> int:
    """Find the configuration cell of a chapter.

    Args:
        notebook: The chapter.

    Returns:
        Its place among the cells.
    """
    (place,) = (i for i, c in enumerate(notebook.cells) if "config" in c.metadata.get("tags", []))
    return place


def shortened(
    notebook: NotebookNode,
    name: str,
    size: str,
    instruction: str,
    model: str = ORGANISM,
    layer: int | None = None,
) -> NotebookNode:
    """Return a chapter up to the cell that records something, on another model and instruction.

    Args:
        notebook: The chapter.
        name: What is recorded, such as ``"C3"``.
        size: Size of the organism, or width of the SAEs.
        instruction: Name of the instruction.
        model: Name of the model. A real one is asked for its provenance in the end.
        layer: The layer that C1 and C2 are judged at; None for that of the configuration cell.

    Returns:
        A notebook to execute.

    Raises:
        ValueError: If the chapter does not record `name` or does not say size and instruction.
    """
    cells, config = notebook.cells, config_cell(notebook)
    calls = tuple(f'record_{what}("{name}"' for what in ("verdict", "checks"))
    calls += (f'glue_data("{name}-shares"',)
    ends = [i for i, cell in enumerate(cells) if any(call in cell.source for call in calls)]
    if not ends:
        raise ValueError(f"no cell of the chapter records {name!r}")
    there = {
        node.id for node in ast.walk(ast.parse(cells[config].source)) if isinstance(node, ast.Name)
    }
    values = {"SIZE": size, "INSTRUCTION": instruction}
    if set(values) - there:
        raise ValueError(f"the configuration cell lacks {', '.join(set(values) - there)}")
    if model != ORGANISM:
        smaller = SMALLER.get(model, {})
        values = {"MODEL": model} | values | {k: v for k, v in smaller.items() if k in there}
    elif "MAX_NEW_TOKENS" in there:
        values["MAX_NEW_TOKENS"] = {"grammar": INSTRUCTIONS[instruction]}
    values |= {} if layer is None else {"LAYER": layer}
    source = "\n".join(f"{key} = {value!r}" for key, value in values.items())
    end = ends[-1] + 1
    kept = [*cells[: config + 1], nbformat.v4.new_code_cell(source), *cells[config + 1 : end]]
    if model != ORGANISM:
        kept.append(nbformat.v4.new_code_cell(PROVENANCE))
    if model != ORGANISM and name == "C3":
        file = f"{model.replace('/', '--')}-{size}-{instruction}"
        kept.append(nbformat.v4.new_code_cell(KEEP.format(file=file)))
    return nbformat.v4.new_notebook(
        cells=[
            c for c in kept if c.cell_type == "code" and "needs" not in c.metadata.get("tags", [])
        ],
        metadata=notebook.metadata,
    )


def code_hash(notebook: NotebookNode) -> str:
    """Hash the code of a notebook's cells, but for the lines that install the package.

    Args:
        notebook: A notebook of code cells.

    Returns:
        Sixteen hexadecimal digits.
    """
    cells = (re.sub(r"^ *%pip .*$", "", c.source, flags=re.MULTILINE) for c in notebook.cells)
    return hashlib.sha256("\0".join(cells).encode()).hexdigest()[:16]


def execute(notebook: NotebookNode, limit: int | None = None) -> None:
    """Execute a chapter, or a part of one, in the folder of the book.

    Args:
        notebook: The notebook, which gets the outputs.
        limit: Time limit of a cell in seconds; None for no limit.
    """
    where = {"metadata": {"path": str(ROOT / "book")}}
    NotebookClient(notebook, timeout=limit, kernel_name="python3", resources=where).execute()


def recorded(notebook: NotebookNode, name: str) -> list[dict] | dict:
    """Read the checks, or other data, that an executed notebook has recorded.

    Args:
        notebook: The executed notebook.
        name: What they were recorded under.

    Returns:
        The checks, see `saif_helpers.study.claims.Check`, or the data.

    Raises:
        ValueError: If it has recorded nothing under that name.
    """
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.get("metadata", {}).get("scrapbook", {}).get("name") == f"{name}-data":
                (text,) = output.data.values()
                return json.loads(text)
    raise ValueError(f"the notebook has recorded nothing under {name!r}")


def to_make(
    sizes: list[str],
    instructions: list[str],
    names: list[str],
    record: Path,
    model: str = ORGANISM,
) -> Iterator[tuple[dict, NotebookNode]]:
    """List what a run has to make: what is not in the record, or was made by other cells.

    C3 comes first, since C1 and C2 are judged at the layer that it chose.

    Args:
        sizes: Sizes of the organism, or widths of SAEs.
        instructions: Names of instructions.
        names: What to record, of `CHAPTERS`.
        record: The record, which may grow meanwhile.
        model: Name of the model.

    Yields:
        A row without what was found, and the notebook that finds it.

    Raises:
        ValueError: If C1 or C2 is to be judged, and C3 has not been.
    """
    first = sorted(names, key=lambda name: (name != "C3", list(CHAPTERS).index(name)))
    for size, instruction, name in product(sizes, instructions, first):
        rows = rows_of(record)
        chapter = nbformat.read(ROOT / "book" / f"{CHAPTERS[name]}.ipynb", as_version=4)
        where = {"size": size, "instruction": instruction}
        layer = steered_layer(rows, **where) if name in AT_THE_STEERED_LAYER else None
        notebook = shortened(chapter, name, size, instruction, model, layer)
        row = where | {"name": name, "code": code_hash(notebook)}
        row |= {} if layer is None else {"layer": layer}
        if not any(row.items() <= made.items() for made in rows):
            yield row, notebook


def steered_layer(rows: list[dict], size: str, instruction: str) -> int:
    """Return the layer that C3's search chose.

    Args:
        rows: The rows of the record.
        size: Size of the organism, or width of the SAEs.
        instruction: Name of the instruction.

    Returns:
        The layer.

    Raises:
        ValueError: If the record does not have it.
    """
    for row in rows:
        found = (row["size"], row["instruction"], row["name"])
        if found == (size, instruction, "C3") and "setting" in row:
            return row["setting"]["layer"]
    raise ValueError(
        f"the record has no setting of C3 for {size}, {instruction}; C1 and C2 are judged at its "
        "layer: make C3 first"
    )


def put(row: dict, rows: list[dict]) -> list[dict]:
    """Put a row in the place of an older one of the same kind, and bring them into order.

    Args:
        row: The new row.
        rows: The rows so far.

    Returns:
        All rows, in the order of `SIZES`, `INSTRUCTIONS` and `CHAPTERS`.
    """
    sizes = [*SIZES, *({row["size"]} - set(SIZES))]
    known = [*INSTRUCTIONS, *NATURAL]
    known += sorted({each["instruction"] for each in (row, *rows)} - set(known))
    orders = {"size": sizes, "instruction": known, "name": list(CHAPTERS)}
    kept = [r for r in rows if any(r[key] != row[key] for key in orders)]
    return sorted([*kept, row], key=lambda r: [orders[key].index(r[key]) for key in orders])


def rows_of(record: Path) -> list[dict]:
    """Read the rows of a record; none where there is no file yet.

    Args:
        record: The file.

    Returns:
        The rows.
    """
    data = json.loads(record.read_text(encoding="utf-8")) if record.exists() else []
    return data["rows"] if isinstance(data, dict) else data


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, make what is asked for and not made, and write the record.

    Args:
        arguments: The command line; by default this process's.

    Returns:
        0 if all was made.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    for option, known in (("sizes", SIZES), ("names", CHAPTERS)):
        parser.add_argument(f"--{option}", nargs="+", choices=list(known), default=list(known))
    parser.add_argument("--instructions", nargs="+")
    parser.add_argument("--model", default=ORGANISM, help="a real model, such as gemma-2-2b-it")
    parser.add_argument("--width", default="16k", help="width of its SAEs, such as 65k")
    parser.add_argument("--record", type=Path)
    given = parser.parse_args(arguments)
    os.environ["SAIF_BOOK_BUILD"] = "1"  # no progress bars inside
    real = given.model != ORGANISM
    usual = NATURAL if given.model in SMALLER else INSTRUCTIONS
    instructions = given.instructions or list(usual)
    file = RESULTS / f"{given.model.replace('/', '--')}-{given.width}.json" if real else RECORD
    record, sizes = given.record or file, [given.width] if real else given.sizes
    record.parent.mkdir(parents=True, exist_ok=True)
    making = to_make(sizes, instructions, given.names, record, given.model)
    total = len(sizes) * len(instructions) * len(given.names)
    for row, notebook in tqdm(making, total=total):
        start = time.monotonic()
        execute(notebook, None if real else TIME_LIMIT)
        row |= {"checks": recorded(notebook, row["name"])}
        row |= {"minutes": round((time.monotonic() - start) / 60, 1)}
        if row["name"] == "C3":
            row |= {kept: recorded(notebook, f"C3-{kept}") for kept in ("setting", "shares")}
        if row["name"] in ALSO:
            row |= {"also": {name: recorded(notebook, name) for name in ALSO[row["name"]]}}
        if real:
            row |= {"provenance": recorded(notebook, "provenance")}
        rows = put(row, rows_of(record))  # read anew: another run may have added some
        text = json.dumps({"rows": rows} if real else rows, indent=1) + "\n"
        entries.write(record, text.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
