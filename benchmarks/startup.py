"""Part d: time to import, to the loaded model and to the first result, and peak memory.

Each is measured inside a separate process, so that the start of Python is excluded. The programs
are in ``programs/``. The imports are the usual first lines for a user of each library.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.peers.with_nnterp import FOLDER as NNTERP
from benchmarks.timing import Options, row
from saif_helpers._internal.paths import GIB

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = Path(__file__).parent / "programs"
OURS = "saif_helpers"
IMPORTS = {
    "transformers": "from transformers import AutoModelForCausalLM",
    OURS: "import saif_helpers",
    f"{OURS}, up to the first name": "import saif_helpers; saif_helpers.load",
    "SAE-Lens": "import sae_lens",
    "nnsight": "import nnsight",
    "TransformerLens": "import transformer_lens",
    "nnterp": "import nnterp",
    "steering-vectors": "import steering_vectors",
}
LIMIT = "transformers, hooks"
FIRST = {
    "first ranking": {LIMIT: "rank_with_hooks.py", OURS: "rank_with_package.py"},
    "first steered output": {LIMIT: "steer_with_hooks.py", OURS: "steer_with_package.py"},
}
CHILD = """
import json, sys, time
told, marks = json.load(sys.stdin), {}
start = time.perf_counter()
def mark(name):
    marks[name] = time.perf_counter() - start
names = {"given": told["given"], "mark": mark, "answer": None}
exec(compile(told["code"], told["name"], "exec"), names)
from benchmarks.process_memory import peak
print()
print(json.dumps({"seconds": marks, "peak": peak(), "answer": names["answer"]}))
"""


def run_fresh(name: str, code: str, given: Mapping | None = None) -> dict:
    """Run a program in a separate process.

    Args:
        name: Name of the program in tracebacks.
        code: The program; it calls ``mark(name)`` to record a time, reads ``given``, and may set
            ``answer``.
        given: Input of the program, serializable as JSON.

    Returns:
        The ``seconds`` from the start to each mark, the ``peak`` memory in bytes, and the
        ``answer``; or, if the program failed, only the ``error``, in one line.
    """
    found = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=json.dumps({"name": name, "code": code, "given": given}),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"SAIF_BOOK_BUILD": "1", "HF_HUB_OFFLINE": "1"},
    )
    if found.returncode:
        return {"error": (found.stderr.strip().splitlines() or ["no message"])[-1]}
    return json.loads(found.stdout.splitlines()[-1])


def by_turns(ways: Mapping[str, Callable[[], dict]], repeats: int) -> dict[str, list[dict]]:
    """Run several programs in interleaved rounds, so that other load affects all of them equally.

    Args:
        ways: Functions that run a program, by method; see `run_fresh`.
        repeats: Number of rounds that count. A warm-up round, which fills the disk cache, comes
            first; with 0 repeats its results are returned.

    Returns:
        The results of the rounds by method. A method that failed is not run again.
    """
    found: dict[str, list[dict]] = {way: [] for way in ways}
    for repeat in range(repeats + 1):
        for way, run in ways.items():
            before = found[way]
            if before and "error" in before[-1]:
                continue
            found[way] = [*(before if repeat > 1 else []), run()]
    return found


def why_not(error: str) -> str:
    """Return a note on why a method failed, from the last line of its traceback."""
    missing = error.startswith("ModuleNotFoundError")
    return f"not installed ({error})" if missing else f"does not run here: {error}"


def to_rows(
    work: str, unit: str, found: Mapping[str, list[dict]], value: Callable[[dict], float], note: str
) -> list[dict]:
    """Return the rows of one task; the first method is the reference."""
    rows, limit = [], None
    for way, rounds in found.items():
        error = rounds[-1].get("error")
        values = [] if error else [value(each) for each in rounds]
        said = why_not(error) if error else note
        rows.append(row("d", work, way, unit, values, reference=limit, note=said))
        limit = values if limit is None else limit
    return rows


def imports(repeats: int) -> list[dict]:
    """Measure the time and peak memory of each library's import."""
    # nnterp is installed in a separate folder, see benchmarks.peers.
    path = f"import sys; sys.path[:0] = [{str(NNTERP)!r}] * {NNTERP.is_dir():d}\n"
    codes = {
        way: f"{path * (way == 'nnterp')}{code}\nmark('import')" for way, code in IMPORTS.items()
    }
    ways = {way: lambda way=way: run_fresh(way, codes[way]) for way in codes}
    found = by_turns(ways, repeats)
    seconds = to_rows("import", "s", found, lambda each: each["seconds"]["import"], "")
    memory = to_rows("import, peak memory", "GiB", found, lambda each: each["peak"] / GIB, "")
    for each in seconds + memory:
        each["note"] = each["note"] or IMPORTS[each["way"]]
    return seconds + memory


def first_given(size: str, pairs: int, new_tokens: int) -> dict:
    """Return the input of the programs: the same prompts and the same vector for all."""
    import saif_helpers as saif

    model = saif.load("organism", size)
    contents = saif.load_contents("identification")[:pairs]
    made = saif.make_pairs(saif.load_instructions()["french"], contents, model.tokenizer, seed=0)
    layer = model.n_layers // 2
    sae = model.saes[layer]
    vector = saif.saif_vector(saif.rank_layers(model, made, [layer])[layer], sae, k=15, layer=layer)
    return {
        "size": size,
        "folder": str(Path(saif.__file__).parent / "data" / "organism" / size),
        "layer": layer,
        "pairs": pairs,
        "positive": [pair.positive for pair in made],
        "negative": [pair.negative for pair in made],
        "vector": vector.vector.tolist(),
        "new_tokens": new_tokens,
        "stop_ids": model.stop_ids,
        "shown": 10,
    }


def agreement(found: Mapping[str, list[dict]]) -> str:
    """Return a note on whether all methods that ran gave the same answer."""
    answers = {way: rounds[-1]["answer"] for way, rounds in found.items() if "answer" in rounds[-1]}
    first = next(iter(answers.values()), None)
    different = [way for way, answer in answers.items() if answer != first]
    if different:
        return f"another answer: {', '.join(different)}"
    return "same answer" if len(answers) > 1 else "nothing to compare the answer with"


def first_results(repeats: int, size: str = "M", pairs: int = 50, new_tokens: int = 24) -> list:
    """Measure the time to the model, to the first ranking and to the first steered output."""
    given, rows = first_given(size, pairs, new_tokens), []
    works = {
        "first ranking": f"first ranking, {pairs} pairs, one layer",
        "first steered output": f"first steered output, {new_tokens} tokens",
    }
    for mark, work in works.items():
        codes = {way: (PROGRAMS / name).read_text("utf-8") for way, name in FIRST[mark].items()}
        ways = {
            way: lambda way=way, code=code: run_fresh(way, code, given)
            for way, code in codes.items()
        }
        found = by_turns(ways, repeats)
        note = agreement(found)
        if mark == "first ranking":
            loaded = f"organism {size} loaded"
            rows += to_rows(loaded, "s", found, lambda each: each["seconds"]["load"], "")
        rows += to_rows(work, "s", found, lambda each, m=mark: each["seconds"][m], note)
        rows += to_rows(f"{work}, peak memory", "GiB", found, lambda each: each["peak"] / GIB, note)
    return rows


def measure(options: Options) -> list[dict]:
    """Measure part d.

    Args:
        options: Sizes and repeats.

    Returns:
        The rows.
    """
    sizes = {"size": "S", "pairs": 4, "new_tokens": 3} if options.quick else {}
    return imports(options.repeats) + first_results(options.repeats, **sizes)
