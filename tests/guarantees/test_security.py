"""Planted code is not run, no text is read as HTML, no key is told, no other machine is asked."""

import ast
import inspect
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fake_hub
import huggingface_hub
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from refusals import unreadable
from sae_lens.loading import pretrained_sae_loaders
from test_model import write_manifest

from saif_helpers.analysis.contexts import Context
from saif_helpers.book.record import checks_table, glue_table
from saif_helpers.display.cards import LatentCard
from saif_helpers.display.figures import interval_bars
from saif_helpers.display.side_by_side import SideBySide
from saif_helpers.display.slider import SHOW, Frames
from saif_helpers.graders.grader import Item
from saif_helpers.grading import Grades
from saif_helpers.hub import download as hub
from saif_helpers.hub.loading import load
from saif_helpers.hub.published_saes import pretrained_saes
from saif_helpers.hub.zoo import ZOO
from saif_helpers.intervals import Interval
from saif_helpers.judge.answers import Answer
from saif_helpers.study.claims import Criterion

ROOT = Path(__file__).parents[2]


# Planted code


class Planted:
    """What leaves a file behind when it is unpickled."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.fixture
def trace(tmp_path):
    """The file that planted code makes, which is never there."""
    yield tmp_path / "trace"
    assert not (tmp_path / "trace").exists()


@pytest.fixture
def files(tmp_path):
    """A model's folder with an SAE's in it, which load; a test plants something there."""
    tiny.causal_lm("llama").save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    tiny.sae(1).save_model(tmp_path / "model" / "sae")
    return tmp_path / "model"


def load_files(files, **options):
    return load(str(files), saes={1: files / "sae"}, store=None, device="cpu", **options)


def test_what_is_planted_does_run_where_it_is_let(tmp_path):
    torch.save({"weight": Planted(tmp_path / "trace")}, tmp_path / "a.pt")
    torch.load(tmp_path / "a.pt", weights_only=False)
    assert (tmp_path / "trace").exists()


@pytest.mark.parametrize("save", [torch.save, lambda o, path: path.write_bytes(pickle.dumps(o))])
@pytest.mark.parametrize(
    ("there", "planted", "message"),
    [
        ("model.safetensors", "pytorch_model.bin", "no file named model.safetensors"),
        (
            "model.safetensors",
            "model.safetensors",
            "not a safetensors file .* from a source that you",
        ),
        ("sae/sae_weights.safetensors", "sae/sae_weights.pt", "has no sae_weights.safetensors"),
        ("sae/sae_weights.safetensors", "sae/sae_weights.safetensors", "not a safetensors file"),
    ],
)
def test_a_pickle_in_the_place_of_weights_is_refused(files, trace, save, there, planted, message):
    (files / there).unlink()
    save({"weight": Planted(trace)}, files / planted)
    with pytest.raises((OSError, ValueError), match=message) as raised:
        load_files(files)
    assert str(files) in str(raised.value)


def test_pickles_beside_the_weights_are_left_alone(files, trace):
    expected = load_files(files)
    for name in ("pytorch_model.bin", "training_args.bin", "sae/sae_weights.pt", "sae/sparsity.pt"):
        torch.save({"weight": Planted(trace)}, files / name)
    found = load_files(files)
    assert torch.equal(found.saes[1].W_dec, expected.saes[1].W_dec)
    for key, weights in expected.lm._module.state_dict().items():
        assert torch.equal(found.lm._module.state_dict()[key], weights)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the Hub's files."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("kind", ["object array", "pickle"])
def test_a_pickle_in_gemma_scopes_arrays_is_refused(cache, trace, kind):
    published = pretrained_saes(ZOO["gemma-2-2b"].releases)[1, 16384]
    fake_hub.write_sae(cache, published, 2304)
    (path,) = cache.rglob("params.npz")
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Planted(trace)))
    else:
        with np.load(path) as arrays:
            changed = dict(arrays) | {"threshold": np.array([Planted(trace)], dtype=object)}
        np.savez(path, **changed)
    with unreadable("layer_1/width_16k/average_l0_102"):
        hub.load_sae(published.release, published.sae_id, "cpu")


def test_a_release_of_torch_files_is_not_opened(cache, trace):
    """SAE-Lens reads some releases with torch.load, whose protection a variable switches off."""
    release, path = "goodfire-llama-3.1-8b-instruct", "Llama-3.1-8B-Instruct-SAE-l19.pth"
    listed = hub.get_pretrained_saes_directory()[release]
    folder = fake_hub.add(cache, listed.repo_id)
    (sae_id,) = listed.saes_map
    for content in (Planted(trace), torch.zeros(2)):
        torch.save({"encoder_linear.weight": content}, folder / path)
        with unreadable("Llama-3.1-8B-Instruct-SAE-l19/layer_19"):
            hub.load_sae(release, sae_id, "cpu")


def test_the_loaders_of_sae_lens_that_open_torch_files_are_known():
    """A new one would be opened without a word; read from SAE-Lens' source."""
    tree = ast.parse(inspect.getsource(pretrained_sae_loaders))
    opening = {
        function.name
        for function in tree.body
        if isinstance(function, ast.FunctionDef) and "torch.load(" in ast.unparse(function)
    }
    named = pretrained_sae_loaders.NAMED_PRETRAINED_SAE_LOADERS
    assert {name for name, loader in named.items() if loader.__name__ in opening} == hub.TORCH_FILES
    assert opening <= {loader.__name__ for loader in named.values()}  # none of them is a helper


@pytest.mark.parametrize(
    ("file", "changed", "refused"),
    [
        ("config.json", {}, False),  # of a kind that transformers knows
        ("config.json", {"model_type": "planted"}, True),
        ("tokenizer_config.json", {}, False),
        ("tokenizer_config.json", {"tokenizer_class": "Planted"}, True),
    ],
)
@pytest.mark.parametrize("remote", [False, True])
def test_code_that_a_model_brings_is_not_run(files, trace, file, changed, refused, remote):
    (files / "planted.py").write_text(f"open({str(trace)!r}, 'w')\nclass Planted: pass\n")
    kinds = ("AutoConfig", "AutoModel", "AutoModelForCausalLM")
    own = dict.fromkeys(kinds, "planted.Planted") | {"AutoTokenizer": ["planted.Planted"] * 2}
    settings = json.loads((files / file).read_text()) | {"auto_map": own} | changed
    (files / file).write_text(json.dumps(settings))
    if refused:
        said = r"model requires custom Python code .* never run .* part of transformers"
        with pytest.raises(ValueError, match=said) as raised:
            load_files(files, remote=remote)
        assert "trust_remote_code" not in str(raised.value)
    else:
        model = load_files(files, remote=remote)
        assert type(model.lm._module).__name__ == "LlamaForCausalLM"
        assert type(model.tokenizer).__module__.startswith("transformers.")


def test_the_organisms_folder_brings_no_code_either(files, trace, tmp_path):
    """A root of one's own has a manifest of its own."""
    root = tmp_path / "root"
    shutil.copytree(files, root / "S", ignore=shutil.ignore_patterns("sae"))
    tiny.sae(1).save_model(root / "S" / "saes" / "layer_1_width_64")
    (root / "S" / "planted.py").write_text(f"open({str(trace)!r}, 'w')\n")
    config = json.loads((root / "S" / "config.json").read_text())
    own = {"auto_map": {"AutoConfig": "planted.Planted"}, "model_type": "planted"}
    (root / "S" / "config.json").write_text(json.dumps(config | own))
    write_manifest(root)
    with pytest.raises(ValueError, match="code"):
        load(size="S", root=root)


# Text on pages


NASTY = """"'></td><script>a()</script><img onerror=a()>"""  # short: pandas shows 50 characters
BAD_TAGS = {"script", "img", "iframe", "object", "embed", "link", "base", "form"}


class Page(HTMLParser):
    """Collects what a browser would run, and the text that it would show."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.live, self.text = [], ""
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.live += [tag] if tag in BAD_TAGS else []
        self.live += [(tag, name, value) for name, value in attrs if name.startswith("on")]

    def handle_data(self, data):
        self.text += data


GRADES = Grades(NASTY, (Item(NASTY, reference=NASTY),), (NASTY,), (False,), (True,))
BOTH = SideBySide(NASTY, NASTY, NASTY, (NASTY, f" {NASTY}"), (3.0, -0.01))
CONTEXT = Context(0, (NASTY, NASTY), (1.0, 0.5))
CHECKS = checks_table([Criterion(NASTY, Interval(0.5, 0.4, 0.6, 9), "above", 0.3)])
REASONS = pd.DataFrame([Answer(reason=NASTY, loose=True, strict=False).model_dump()])
NAMED = pd.DataFrame(
    {(NASTY, NASTY): [1.0]},
    index=pd.MultiIndex.from_tuples([(NASTY, NASTY)], names=[NASTY, NASTY]),
)
CARD = LatentCard(
    0, 1, {NASTY: NASTY}, [NASTY], [NASTY], [1] * 12, [0] * 12, 1.0, [CONTEXT], f"https://{NASTY}"
)


@pytest.mark.parametrize(
    ("shown", "times"),
    [
        (CARD, 6),
        (BOTH, 5),
        (GRADES.to_frame(), 3),
        (CHECKS, 1),
        (REASONS, 1),
        (NAMED, 6),
        (Frames(NASTY, {NASTY: GRADES.to_frame(), "b": BOTH, "c": CARD}, NASTY), 1 + 1 + 3 + 5 + 6),
    ],
    ids=["card", "answers", "grades", "checks", "reasons", "labels", "frames"],
)
def test_no_text_is_read_as_html(shown, times):
    page = Page(shown._repr_html_())
    live = [found for found in page.live if found != ("input", "oninput", SHOW)]
    assert not live
    assert page.text.replace("·", " ").count(NASTY) == times  # as tokens show their spaces


def test_a_table_left_for_other_pages_is_escaped(monkeypatch):
    left = {}
    monkeypatch.setattr("IPython.display.display", lambda data, **_: left.update(data))
    glue_table("any", NAMED)
    (page,) = [Page(text) for mime, text in left.items() if mime.endswith("text/html")]
    assert not page.live
    assert page.text.count(NASTY) == 6


def test_words_in_a_figure_are_words(tmp_path):
    rows = pd.DataFrame([{"method": NASTY, "value": 0.5, "low": 0.4, "high": 0.6, "n": 9}])
    axes = interval_bars(rows.assign(grade=NASTY), "method", "grade")
    for kind in ("path", "none"):
        with plt.rc_context({"svg.fonttype": kind}):
            axes.figure.savefig(tmp_path / "figure.svg")
        page = Page((tmp_path / "figure.svg").read_text(encoding="utf-8"))
        assert not page.live
    plt.close(axes.figure)


# Tables through .style are not escaped by pandas; this one holds the package's own numbers.
STYLED = {"14_real_models": "shown.style.format(precision=1)"}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "book").glob("*.ipynb")), ids=lambda path: path.stem
)
def test_chapters_show_nothing_that_goes_past_the_escaping(path):
    cells = [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    code = "\n".join(cells).replace(STYLED.get(path.stem, "\0"), "")
    assert not re.findall(r"HTML\(|escape=False|\.style\.|SVG\(|Javascript\(|IFrame\(", code)


# Keys


HF_TOKEN, KEY = "hf_standInStandInStandInStandInStan", "sk-stand-in-0123456789"
REFUSALS = {
    "gated": (403, {"X-Error-Code": "GatedRepo"}),
    "unknown": (401, {"X-Error-Code": "RepoNotFound"}),
}
TELLS = """
import logging, sys, traceback
logging.basicConfig(level=logging.DEBUG)
import huggingface_hub, transformers
huggingface_hub.logging.set_verbosity_debug()
transformers.logging.set_verbosity_debug()
import saif_helpers as saif
from saif_helpers.cache.store import default_folder
from saif_helpers.display.style import style
from saif_helpers.book.provenance import provenance

def shown(call):
    try:
        call()
    except Exception as error:
        traceback.print_exc()
        while error is not None:  # also what `from None` keeps out of sight
            print("raised", type(error), repr(error), str(error), vars(error))
            error = error.__cause__ or error.__context__

shown(lambda: saif.load("gemma-3-1b-it", device="cpu"))
sae = ("gemma-scope-2b-pt-res", "layer_0/width_16k/average_l0_105")
shown(lambda: saif.load("gemma-2-2b-it", saes={0: sae}, device="cpu"))
model = saif.load("organism", "S", layers=[0], store=saif.Store(default_folder()))
contents = saif.load_contents("test", model.corpus)[:2]
prompts = [saif.render(content.text, model.tokenizer) for content in contents]
saif.capture(model, prompts, [0])
outputs = saif.generate(model, prompts, max_new_tokens=2)
french = saif.load_instructions()["french"]
items = [content.item(french) for content in contents]
judge = saif.Judge(max_retries=1, attempts=1)
shown(lambda: judge.grade(outputs, items, french))
print(judge, model, provenance(model, 0))
"""


class Refusing(BaseHTTPRequestHandler):
    """The Hub and a judge's endpoint on this machine, which note the keys and refuse."""

    def refuse(self):
        self.server.keys.add(self.headers.get("Authorization"))
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        status, headers = self.server.refusal
        body = json.dumps({"error": {"message": "no"}}).encode()
        self.send_response(status)
        for name, value in {**headers, "retry-after-ms": "1"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = refuse  # noqa: N815 (names of http.server)

    def log_message(self, *args):
        pass


@pytest.fixture
def refusing():
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        server.keys = set()
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def bare_environment(home):
    """Return the environment of a reader who has set nothing."""
    ours = re.compile(r"HF_|HUGGING|TRANSFORMERS_|WANDB|DO_NOT_TRACK|SAIF_|OPENAI_|\w+_PROXY", re.I)
    kept = {name: value for name, value in os.environ.items() if not ours.match(name)}
    return kept | {"HOME": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_no_key_is_told_where_its_use_fails(refusing, tmp_path, refusal):
    refusing.refusal = REFUSALS[refusal]
    url = f"http://127.0.0.1:{refusing.server_port}"
    environment = bare_environment(tmp_path) | {
        "HF_TOKEN": HF_TOKEN,
        "OPENAI_API_KEY": KEY,
        "HF_ENDPOINT": url,
        "OPENAI_BASE_URL": f"{url}/v1",
        "SAIF_STORE": str(tmp_path / "store"),
        "HF_DEBUG": "1",
    }
    ran = subprocess.run(
        [sys.executable, "-c", TELLS],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        timeout=300,
        check=False,
    )
    told = (ran.stdout + ran.stderr).decode()
    assert ran.returncode == 0, told[-3000:]
    assert {f"Bearer {HF_TOKEN}", f"Bearer {KEY}"} <= refusing.keys  # both were used
    assert "DEBUG:" in told
    assert {"gated": "accepted its licence", "unknown": "does not exist"}[refusal] in told
    assert "JudgeError" in told
    assert list((tmp_path / "store").rglob("*.safetensors"))
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for key in (HF_TOKEN, KEY):
        assert key not in told, told[max(0, told.index(key) - 500) :][:1000]
        assert key.encode() not in kept


# Requests


ALONE = """
import socket
import urllib.request

asked = []

def watch(owner, name):
    real = getattr(owner, name)

    def watched(*args, **kwargs):
        if getattr(args[0], "family", None) == socket.AF_UNIX:
            return real(*args, **kwargs)
        asked.append((name, args))
        raise OSError("no network")

    setattr(owner, name, watched)

for name in ("connect", "connect_ex", "sendto"):
    watch(socket.socket, name)
for name in ("getaddrinfo", "gethostbyname", "create_connection"):
    watch(socket, name)

import saif_helpers as saif
from saif_helpers.display.style import style

model = saif.load("organism", "S")
french = saif.load_instructions()["french"]
splits = ("identification", "validation", "test")
few = {split: saif.load_contents(split, model.corpus)[:6] for split in splits}
found = saif.study_instruction(
    model,
    french,
    **few,
    rules=("paper",),
    strengths=(4.0,),
    decays=(0.5,),
    rounds=(2, 4, 6),
)
style()
found.figure().figure.savefig("figure.svg")
print(found.table(), found.examples(), found.cards[0]._repr_html_())
print("asked by default:", asked)
try:
    urllib.request.urlopen("http://192.0.2.1")  # an address that nobody has
except OSError as error:
    print("asked here:", error)
"""


def test_default_use_asks_no_other_machine(tmp_path):
    """No variable tells the libraries to stay offline; a request would be counted, and fail."""
    ran = subprocess.run(
        [sys.executable, "-c", ALONE],
        env=bare_environment(tmp_path) | {"MPLBACKEND": "agg"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "asked by default: []" in ran.stdout
    assert "asked here: <urlopen error no network>" in ran.stdout
