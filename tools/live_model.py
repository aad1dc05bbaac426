"""Write the files for steering the small model in a browser: weights, vectors, examples.

Run by ``make book`` (``make live`` runs this step alone). The files are generated from the shipped
weights and SAEs into ``book/_assets/live/data``. They are scripts, because a page opened as a file
cannot load other formats: each assigns an object with base64-encoded numbers that ``organism.js``
reads. The files are not committed, so they cannot be out of date. ``manifest.json`` has the SHA-256
of the sources and of the files; if the sources are unchanged, nothing is generated.

``make live ARGS=--settings`` also chooses the default layer, placement and strength of each
instruction and rule on validation sentences, and writes ``book/live_settings.json``.
"""

import base64
import hashlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
from safetensors.torch import load_file
from saif_build import input_hash

import saif_helpers as saif
from saif_helpers._internal.paths import DATA

ROOT = Path(__file__).resolve().parents[1]
SOURCE = DATA / "organism" / "M"
OUT = ROOT / "book" / "_assets" / "live" / "data"
SETTINGS = ROOT / "book" / "live_settings.json"
FIRST = "The old baker sells red flowers."
EXAMPLE, N_EXAMPLES = "french", 3
N_PAIRS, K, N_SENTENCES, MOST = 100, 15, 12, 40
RULES = ("SAIF", "signed latents", "difference in means", "random latents")
PARTS = {  # names of the weights in the JavaScript engine and in the shipped file
    "before attention": "input_layernorm",
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "after attention": "post_attention_layernorm",
    "before feed-forward": "pre_feedforward_layernorm",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
    "after feed-forward": "post_feedforward_layernorm",
}


def encoded(numbers: np.ndarray, dtype: str) -> str:
    """Return numbers as base64 of little-endian floats."""
    return base64.b64encode(np.ascontiguousarray(numbers, dtype).tobytes()).decode()


def model_data() -> dict:
    """Return the model's data for the engine: configuration, tokenizer, template and weights."""
    config = json.loads((SOURCE / "config.json").read_text(encoding="utf-8"))
    tokenizer = json.loads((SOURCE / "tokenizer.json").read_text(encoding="utf-8"))
    weights = load_file(SOURCE / "model.safetensors")
    named = {
        "embedding": weights["model.embed_tokens.weight"],
        "norm": weights["model.norm.weight"],
    }
    for layer in range(config["num_hidden_layers"]):
        for part, name in PARTS.items():
            named[f"{layer}.{part}"] = weights[f"model.layers.{layer}.{name}.weight"]
    vocabulary = tokenizer["model"]["vocab"]
    before, after = saif.render("|", saif.load("organism", "M", layers=[0]).tokenizer).split("|")
    return {
        "config": {
            "d_model": config["hidden_size"],
            "d_mlp": config["intermediate_size"],
            "layers": config["num_hidden_layers"],
            "heads": config["num_attention_heads"],
            "kv_heads": config["num_key_value_heads"],
            "head_dim": config["head_dim"],
            "query_scale": config["query_pre_attn_scalar"] ** -0.5,
            "attention_cap": config["attn_logit_softcapping"],
            "logit_cap": config["final_logit_softcapping"],
            "epsilon": config["rms_norm_eps"],
            "theta": config["rope_parameters"]["rope_theta"],
            "vocabulary": config["vocab_size"],
            "ends": config["eos_token_id"],
        },
        "tokenizer": {
            "vocabulary": sorted(vocabulary, key=vocabulary.get),
            "merges": [" ".join(pair) for pair in tokenizer["model"]["merges"]],
            "special": [one["content"] for one in tokenizer["added_tokens"] if one["special"]],
        },
        "template": [before, after],
        "shapes": [[name, tensor.numel()] for name, tensor in named.items()],
        "weights": encoded(np.concatenate([t.numpy().ravel() for t in named.values()]), "<f2"),
    }


def vectors_of(model: saif.ModelWithSAEs, name: str) -> dict[str, dict[int, saif.SteeringVector]]:
    """Return an instruction's vectors at strength 1, by rule and layer."""
    instruction = saif.load_instructions(model.corpus)[name]
    contents = saif.load_contents("identification", model.corpus)[:N_PAIRS]
    pairs = saif.make_pairs(instruction, contents, model.tokenizer)
    layers = model.saes.layers
    positive, negative = saif.capture_pairs(model, pairs, layers)
    rankings = saif.rank_captured(model, positive, negative)
    saes, found = model.saes, {rule: {} for rule in RULES}
    for at in layers:
        own = saif.saif_vector(rankings[at], saes[at], K, layer=at)
        (control,) = saif.norm_matched_controls(model, rankings[at], own, K, n=1, seed=0)
        found["SAIF"][at] = own
        found["signed latents"][at] = saif.signed_latents_vector(
            rankings[at], saes[at], K, layer=at
        )
        found["difference in means"][at] = saif.mean_difference_vector(positive, negative, at)
        found["random latents"][at] = control
    return found


def choose(model: saif.ModelWithSAEs, name: str, vectors: dict[int, saif.SteeringVector]) -> dict:
    """Choose a rule's default setting on validation sentences, among the chapters' strengths."""
    placements, strengths = ["every_position", "decaying"], [1.0, 2.0, 4.0]
    grid = saif.settings_grid(model.saes.layers, [K], [0.0], placements, strengths, [0.5, 0.8])
    contents = saif.load_contents("validation", model.corpus)
    found = saif.choose_and_test(
        model,
        saif.load_instructions(model.corpus)[name],
        vectors,
        grid,
        validation=contents[:20],
        test=saif.load_contents("test", model.corpus)[:1],
        rounds=(4, 8, 20),
        max_new_tokens=MOST,
    )
    keep = ("layer", "placement", "strength", "decay")
    return {key: asdict(found.setting)[key] for key in keep}


def sources_digest() -> str:
    """Return the hash of the sources: the package and its data, the settings, this file."""
    hashed = hashlib.sha256(input_hash(ROOT).encode())
    for path in (SETTINGS, Path(__file__)):
        hashed.update(path.read_bytes())
    return hashed.hexdigest()


def write(name: str, data: dict) -> str:
    """Write a script with data for the engine, and return its SHA-256."""
    script = f"SAIF.data[{json.dumps(name)}] = {json.dumps(data, separators=(',', ':'))};\n"
    (OUT / f"{name}.js").write_text(script, encoding="utf-8")
    return hashlib.sha256(script.encode()).hexdigest()


def words(sentences: list[str]) -> list[str]:
    """Return the words of the grammar's sentences in lower case."""
    return sorted({word.strip(".,?!'\"").lower() for text in sentences for word in text.split()})


def examples(model: saif.ModelWithSAEs, vectors: dict, settings: dict) -> list[dict]:
    """Return the first test sentences steered into French, with their grades.

    A page shows them without JavaScript.
    """
    how, instruction = settings[EXAMPLE]["SAIF"], saif.load_instructions(model.corpus)[EXAMPLE]
    vector = vectors[EXAMPLE]["SAIF"][how["layer"]].scaled(how["strength"])
    vector, found = vector.at(how["placement"], how["decay"]), []
    for content in saif.load_contents("test", model.corpus)[:N_EXAMPLES]:
        shown = saif.steer(model, content.text, vector)
        grades = saif.grade([shown.steered], [content.item(instruction)], instruction)
        passes = [kind for kind in ("strict", "loose") if getattr(grades, kind)[0]]
        found.append({"sentence": content.text, "unsteered": shown.unsteered})
        found[-1] |= {"steered": shown.steered, "grade": (passes or ["no"])[0]}
    return found


def main(arguments: list[str]) -> int:
    """Generate the files unless they are up to date.

    Args:
        arguments: ``--settings`` to choose the default settings as well.

    Returns:
        0.
    """
    manifest = OUT / "manifest.json"
    again = "--settings" in arguments
    made = json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else {}
    if made.get("sources") == sources_digest() and not again:
        print("the model for the page is up to date")
        return 0
    OUT.mkdir(parents=True, exist_ok=True)
    model = saif.load("organism", "M")
    instructions = saif.load_instructions(model.corpus)
    vectors = {name: vectors_of(model, name) for name in instructions}
    if again:
        rules = RULES[:3]
        chosen = {n: {r: choose(model, n, vectors[n][r]) for r in rules} for n in instructions}
        SETTINGS.write_text(json.dumps(chosen, indent=1) + "\n", encoding="utf-8")
    settings = json.loads(SETTINGS.read_text(encoding="utf-8"))
    sums = {"model": write("model", model_data())}
    numbers = [
        vectors[name][rule][layer].vector.numpy()
        for name in instructions
        for rule in RULES
        for layer in model.saes.layers
    ]
    sentences = [
        content.text
        for split in ("identification", "validation", "test")
        for content in saif.load_contents(split, model.corpus)
    ]
    test = saif.load_contents("test", model.corpus)
    sums["vectors"] = write(
        "vectors",
        {
            "instructions": {name: one.title for name, one in instructions.items()},
            "rules": RULES,
            "layers": model.saes.layers,
            "settings": settings,
            "sentences": [FIRST, *(c.text for c in test[:N_SENTENCES])],
            "words": words(sentences),
            "vectors": encoded(np.stack(numbers), "<f4"),
        },
    )
    for layer in model.saes.layers:
        directions = model.saes[layer].W_dec.detach().numpy()
        sums[f"latents_{layer}"] = write(f"latents_{layer}", {"W_dec": encoded(directions, "<f2")})
    shown = json.dumps(examples(model, vectors, settings), indent=1, ensure_ascii=False)
    (OUT / "examples.json").write_text(shown + "\n", encoding="utf-8")
    size = sum((OUT / f"{name}.js").stat().st_size for name in sums)
    made = {"sources": sources_digest(), "bytes": size, "sha256": sums}
    manifest.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    print(f"the model for the page: {size / 1e6:.1f} MB in {len(sums)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
