"""Hasty, wrong and odd input is taken in the one sensible way or refused in words, everywhere.

Every public function, class and method is called as it should be but for one argument. What is
given in its place follows from the signature: for a list of texts one text, a number, a dict, an
empty list, a generator and so on. It must be refused by the package itself, before the model runs,
or the answer must be the one to what was clearly meant.

The checks of types and shapes that run in tests alone are off in each call (`answer`).
"""

import dataclasses
import dis
import functools
import inspect
import math
import os
import subprocess
import sys
import tempfile
import types
import typing
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jaxtyping
import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from beartype.door import is_bearable
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused
from torch import Tensor

import saif_helpers as saif
from saif_helpers.generation.decoding import Sampling
from saif_helpers.latents import sum_of_directions
from saif_helpers.model.saes import SAE

LAYER, OTHER_LAYER, K = 1, 2, 3
YES = saif.Grader(lambda output, item: True, lambda output, item: True)
SHOUT = saif.InstructionType(
    "shout", {"en": ["Shout {what}.", "Say {what} loudly."]}, YES, slots=["what"]
)
CONTENTS = [
    saif.Content(f"The {what} falls.", {"shout": what}, {"what": what})
    for what in ("snow", "rain", "leaf", "night")
]
SETTING = saif.SteeringSetting(LAYER, K, 0.5, "decaying", 1.0, 0.5)
PASSES = []


@functools.cache
def model() -> saif.ModelWithSAEs:
    """A tiny model of these tests alone, which counts its passes."""
    module = tiny.causal_lm("llama")
    module.model.embed_tokens.register_forward_pre_hook(lambda *_: PASSES.append(1))
    saes = {layer: tiny.sae(layer) for layer in range(tiny.N_LAYERS)}
    return saif.wrap(module, tiny.tokenizer(), saes, name="tiny")


@functools.cache
def arguments() -> dict[str, object]:
    """What each argument should be: by owner and name, or by name."""
    lm, tokenizer = model(), model().tokenizer
    sae, prompts = lm.saes[LAYER], tiny.PROMPTS[:2]
    pairs = saif.make_pairs(SHOUT, CONTENTS[:3], lm, wordings="all")
    streams, others = saif.capture_pairs(lm, pairs, [LAYER])
    positive, negative = saif.encode(sae, streams), saif.encode(sae, others)
    rankings = saif.rank_captured(lm, streams, others)
    vector = saif.SteeringVector(LAYER, 3 * sae.W_dec[5].detach(), "five")
    interval = saif.wilson(3, 10)
    outputs = ("Snow!", "It rains.")
    items = tuple(content.item(SHOUT) for content in CONTENTS[:2])
    graded = saif.grade(outputs, items, SHOUT)
    frame = pd.DataFrame({"a": [1]})
    criterion = saif.Criterion("strict", interval, "above", 0.1)
    one_shot = {"contents": 1, "strict": 0.5, "loose": 0.5, "norm": 1.0}
    by_name = {
        "among": ["en", "fr"],
        "base_url": "http://localhost:1/v1",
        "batch_size": 2,
        "beta": 0.5,
        "betas": [0.5],
        "broken": (False, True),
        "cache": tempfile.gettempdir(),
        "checks": [criterion],
        "confidence": 0.95,
        "content": CONTENTS[0],
        "contents": CONTENTS[:3],
        "corpus": "natural",
        "count": 3,
        "decay": 0.5,
        "decays": [0.5],
        "by": "strict",
        "description": "a description",
        "facts": {5: {"sensitivity": "0.9"}},
        "first": graded,
        "folder": tempfile.gettempdir(),
        "grader": saif.grade,
        "high": 0.6,
        "history": [("Hello.", "Good day.")],
        "identification": CONTENTS[:2],
        "index": LAYER,
        "inside": False,
        "instruction": SHOUT,
        "instructions": {"shout": SHOUT},
        "interval": interval,
        "items": items,
        "k": K,
        "key_name": "A_KEY",
        "kind": "strict",
        "ks": [K],
        "language": "fr",
        "languages": ["en"],
        "latents": [5, 7],
        "layer": LAYER,
        "layers": [LAYER],
        "least": 1,
        "like": vector,
        "loose": (True, False),
        "low": 0.1,
        "max_new_tokens": 2,
        "mean": rankings[LAYER].mean,
        "model": lm,
        "most": 3,
        "n": 1,
        "n_cards": 1,
        "n_contexts": 1,
        "n_pairs": 2,
        "n_random": 1,
        "n_tokens": 2,
        "name": "tiny",
        "negative": negative,
        "negative_mean": rankings[LAYER].negative_mean,
        "order": rankings[LAYER].order,
        "output": "It rains.",
        "output_language": "en",
        "outputs": outputs,
        "pairs": pairs,
        "pattern": "a+",
        "price_in": 0.15,
        "price_out": 0.6,
        "placement": "decaying",
        "placements": ["decaying"],
        "position": "after",
        "positive": positive,
        "prompt": prompts[0],
        "prompts": prompts,
        "ranking": rankings[LAYER],
        "references": {"shout": "snow"},
        "remote": False,
        "residual": streams,
        "rounds": (1, 2, 3),
        "rule": "paper",
        "rules": ["paper"],
        "sae": sae,
        "saes": {LAYER: tiny.sae(LAYER)},
        "sampling": saif.Sampling(0.7, 0.9, 3),
        "scores": rankings[LAYER].mean,
        "second": graded,
        "seed": 3,
        "sensitivity": rankings[LAYER].sensitivity,
        "sentence": "A cat sleeps.",
        "settings": [SETTING],
        "several": [graded, graded],
        "side": "above",
        "slots": {"what": "snow"},
        "source": rankings[LAYER],
        "sources": {LAYER: rankings[LAYER]},
        "split": "validation",
        "start": "1",
        "std": rankings[LAYER].std,
        "steering": vector,
        "stop": ["zz"],
        "strength": 2.0,
        "strengths": [2.0],
        "strict": (True, False),
        "style": "chat",
        "system": "Be brief.",
        "table": pd.DataFrame([vars(SETTING) | one_shot]),
        "tables": {"1": frame},
        "temperature": 0.7,
        "test": CONTENTS[3:],
        "text": "A cat sleeps.",
        "texts": prompts,
        "threads": 2,
        "threshold": 0.3,
        "title": "Shout",
        "tokenizer": tokenizer,
        "tokens": "Le",
        "top_p": 0.9,
        "validation": CONTENTS[:3],
        "value": 0.3,
        "values": torch.tensor([2.0, 1.0]),
        "vector": vector.vector,
        "vectors": [vector],
        "what": "strict",
        "width": tiny.D_SAE,
        "wording": "Shout {what}.",
        "wordings": "all",
    }
    by_owner = {
        "apply.model": lm.hf,
        "load.path": kept_vector(vector),
        "save.path": Path(tempfile.mkdtemp()) / "vector.safetensors",
        "save.settings": {"k": 15},
        "ClampedLatents.latents": torch.tensor([5, 7]),
        "Grader.loose": YES.loose,
        "Grader.strict": YES.strict,
        "Grades.instruction": "shout",
        "InstructionType.grader": YES,
        "InstructionType.name": "shout",
        "InstructionType.slots": ["what"],
        "InstructionType.wordings": {"en": SHOUT.wordings["en"]},
        "Interval.n": 10,
        "Item.content": "The snow falls.",
        "Item.reference": "snow",
        "Judge.model": "a-model",
        "Playground.settings": {"shout": SETTING},
        "PromptPair.language": "en",
        "PromptPair.negative": "<bos>Snow.",
        "PromptPair.positive": "<bos>Shout snow.",
        "decode.latents": positive,
        "from_latents.latents": {5: 2.0, 7: 1.0},
        "load.name": "organism",
        "load.store": None,
        "load_contents.corpus": "grammar",
        "mean_difference_vector.negative": others,
        "mean_difference_vector.positive": streams,
        "rank_captured.negative": others,
        "rank_captured.positive": streams,
        "wilson.n": 10,
        "wrap.model": tiny.causal_lm("llama"),
    }
    return by_name | by_owner


def kept_vector(vector: saif.SteeringVector) -> Path:
    """Return a file with a vector."""
    path = Path(tempfile.mkdtemp()) / "vector.safetensors"
    vector.save(path)
    return path


LEFT_OUT = {
    "GraderError": "raised by the package",
    "ModelWithSAEs": "made by load and wrap",
    "Study": "made by study_instruction",
}
"""Public names that readers do not call, and why."""
METHODS = {
    saif.ClampedLatents: lambda good: saif.clamped_latents(good["ranking"], good["sae"], K),
    saif.Content: lambda good: CONTENTS[0],
    saif.Grades: lambda good: good["first"],
    saif.InstructionType: lambda good: SHOUT,
    saif.Judge: lambda good: saif.Judge(cache=tempfile.mkdtemp()),
    saif.LatentRanking: lambda good: good["ranking"],
    saif.ModelWithSAEs: lambda good: good["model"],
    saif.SteeringSetting: lambda good: SETTING,
    saif.SteeringVector: lambda good: good["like"],
}
"""Classes to an instance, whose methods are called too."""
NOT_FOR_READERS = {"warn_beyond_range", "require_local", "grade", "answers"}
"""Methods that the package calls itself, and those of a judge that would ask an endpoint."""
SLOW = {"Playground", "choose_and_test", "load", "search", "study_instruction"}
"""What takes a second to answer: here it gets nothing that it may answer."""
NO_LIMIT = {
    "Interval.n",
    "LatentRanking.layer",
    "Playground.max_new_tokens",
    "SteeringSetting.k",
    "SteeringSetting.layer",
    "SteeringVector.layer",
    "attempts",
    "batch_size",
    "ks",
    "least",
    "max_retries",
    "most",
    "n_contexts",
    "n_pairs",
    "n_random",
    "norm_matched_controls.n",
    "reference_answers.max_new_tokens",
    "settings_grid.layers",
    "threads",
    "wilson.n",
}
"""Where a number may be as large as one likes."""
SHARES = ("confidence", "decay", "decays", "strict_bar", "loose_bar", "top_p")
MAY_BE_NAN = {"Interval.value", "Interval.low", "Interval.high"}
MAY_BE_EMPTY = {"Playground.settings", "load.saes", "save.settings", "wrap.saes"}
AS_IT_IS = {
    ("LatentRanking.by.scores", "not finite"): "scores that are no numbers go last",
    ("SteeringVector.vector", "too narrow"): "of which model it is nobody knows",
    ("SteeringVector.vector", "too wide"): "of which model it is nobody knows",
    ("latent_cards.facts", "with the value: an empty dict"): "a card without facts",
    ("mean_difference_vector.positive", "with the key: True"): "True is 1 to a dict",
    ("mean_difference_vector.negative", "with the key: True"): "True is 1 to a dict",
    ("wilson.count", "between whole numbers"): "a trial may be a share",
}
"""What looks odd and is not, and why."""


class Subject(NamedTuple):
    """Something public that is called, with what it should get."""

    name: str
    call: Callable
    parameters: Mapping[str, inspect.Parameter]
    hints: Mapping[str, object]

    def where(self, parameter: str) -> str:
        """Return the name of a parameter, with that of its owner."""
        return f"{self.name.split('.')[-1]}.{parameter}"

    def good(self, parameter: str) -> object:
        """Return what a parameter should get; None leaves it to its default."""
        given = arguments()
        return given.get(self.where(parameter), given.get(parameter))


def subject(name: str, call: Callable) -> Subject:
    """Look at the signature of something public."""
    function = call.__init__ if inspect.isclass(call) else call
    hints = typing.get_type_hints(call if dataclasses.is_dataclass(call) else function)
    hints.pop("return", None)
    found = inspect.signature(call).parameters
    found = {each: one for each, one in found.items() if one.kind is not one.VAR_KEYWORD}
    return Subject(name, call, found, hints)


@functools.cache
def subjects() -> dict[str, Subject]:
    """List all that is public: functions, classes, and methods that take something."""
    found = {}
    for name in saif.__all__:
        public = getattr(saif, name)
        if name not in LEFT_OUT:
            found[name] = subject(name, public)
        instance = METHODS.get(public, lambda _: None)(arguments())
        for method in readers_methods(public) if instance is not None else ():
            bound = getattr(instance, method)
            if inspect.ismethod(bound) and inspect.signature(bound).parameters:
                found[f"{name}.{method}"] = subject(f"{name}.{method}", bound)
    found["saes"] = subject("saes", sae_of)
    return found


def readers_methods(public: type) -> list[str]:
    """List the methods of a class that readers call, those of its parents too."""
    ours = [one for one in public.__mro__ if one.__module__.startswith("saif_helpers")]
    names = dict.fromkeys(name for one in ours for name in vars(one))
    return [name for name in names if not name.startswith("_") and name not in NOT_FOR_READERS]


def sae_of(layer: int) -> SAE:
    """Look up an SAE, as readers do in brackets."""
    return model().saes[layer]


# ------------------------------------------------------------------------------------------------
# What is given in place of what it should be


class Odd(NamedTuple):
    """Something to give in place of what an argument should be.

    Attributes:
        make: Makes it anew.
        like: Makes what it may be taken for; None where it must be refused.
        must_be_taken: Whether it must not be refused.
        not_finite: Whether the answer may also be one that holds numbers that are not finite.
        may_run: Whether it may be refused after a pass of the model.
    """

    make: Callable[[], object]
    like: Callable[[], object] | None = None
    must_be_taken: bool = False
    not_finite: bool = False
    may_run: bool = False


Kinds = dict[str, Odd | st.SearchStrategy[Odd]]
"""What is given by what it is called: always the same, or drawn."""
ODDITIES = {
    "None": None,
    "a text": "x y",
    "bytes": b"x y",
    "a number": 3,
    "a fraction": 2.5,
    "True": True,
    "a complex number": 1j,
    "a dict": {"a": 1},
    "an object": object(),
    "a class": int,
    "a list with None": [None],
    "a list of a list": [[None]],
}


def just(value: object, like: object = None, *, taken: bool = False) -> Odd:
    """Give a value, always the same."""
    return Odd(lambda: value, None if like is None else lambda: like, taken)


def drawn(values: st.SearchStrategy) -> st.SearchStrategy[Odd]:
    """Give values that must be refused."""
    return values.map(lambda value: Odd(lambda: value))


def inside(kind: Odd | st.SearchStrategy[Odd], put: Callable[[Odd], Odd]) -> object:
    """Put what is given into something larger."""
    return put(kind) if isinstance(kind, Odd) else kind.map(put)


def arms(hint: object) -> list:
    """List the types that a union allows; any other type is its own."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return list(typing.get_args(hint)) if union else [hint]


def fits(value: object, hint: object) -> bool:
    """Say whether a value is of a type."""
    return hint is Any or is_bearable(value, hint)


def kinds(hint: object, good: object, where: str, name: str, *, empty: bool = False) -> Kinds:
    """List what may be given for an argument of a type, each kind with values to draw from."""
    found: Kinds = {}
    for arm in arms(hint):
        suits = good if fits(good, arm) else None
        if isinstance(good, str) and str in arms(hint) and arm is not str:
            suits = None  # and not for a list of letters
        for reads, more in READERS:
            if reads(arm):
                found |= more(arm, suits, where, name, empty)
                break
    others = arms(hint)
    sequence = any(typing.get_origin(arm) in (Sequence, Iterable) for arm in others)
    if str in others:
        found.pop("a number as text", None)
    for label, value in ODDITIES.items():
        text = isinstance(value, str | bytes) and sequence and str not in others
        number = isinstance(value, int | float) and not isinstance(value, bool) and float in others
        whole = value == 3 and int in others
        if not (number or whole) and (text or not fits(value, hint)):
            found.setdefault(label, just(value))
    if good is not None and not sequence and not fits([good], hint):
        found["many in place of one"] = just([good])
    return found


def of_int(hint, good, where, name, empty) -> Kinds:
    found = {
        "True": just(True),
        "nan": just(math.nan),
        "infinity": just(math.inf),
        "a number as text": just("3"),
        "between whole numbers": drawn(st.floats(0.01, 0.99).map(lambda part: (good or 0) + part)),
        "negative": drawn(st.integers(-(10**6), -1)),
    }
    if name == "seed":
        found["huge"] = drawn(st.integers(2**64, 2**80))
    elif not {where, name} & NO_LIMIT:
        found["huge"] = drawn(st.integers(10**6, 10**30))
    if good is not None:
        found["a whole number as a float"] = just(float(good), good, taken=True)
        found["numpy's whole number"] = just(np.int64(good), good, taken=True)
        found["a tensor of one whole number"] = just(torch.tensor(good), good)
    return found


def of_float(hint, good, where, name, empty) -> Kinds:
    found = {"True": just(True), "a number as text": just("0.5")}
    if where not in MAY_BE_NAN:
        found["nan"] = just(math.nan)
        found["infinity"] = drawn(st.sampled_from([math.inf, -math.inf]))
    if name in SHARES:
        found["percent"] = drawn(st.floats(1.001, 100))
        found["less than nothing"] = drawn(st.floats(-100, -0.001))
    if good is not None:
        found["numpy's number"] = just(np.float64(good), good, taken=True)
        found["a tensor of one number"] = just(torch.tensor(good, dtype=torch.float64), good)
    return found


def of_choice(hint, good, where, name, empty) -> Kinds:
    texts = st.text(st.characters(codec="ascii"), max_size=9)
    found = {"an unknown name": drawn(texts.filter(lambda text: text not in typing.get_args(hint)))}
    if isinstance(good, str):
        found["in capitals"] = just(good.upper())
        found["a list of one name"] = just([good])
    return found


def of_list(hint, good, where, name, empty) -> Kinds:
    (inner,) = [arg for arg in typing.get_args(hint) if arg is not Ellipsis][:1]
    iterable = typing.get_origin(hint) is Iterable
    found = {} if empty or where in MAY_BE_EMPTY else {"an empty list": just([])}
    if not good:
        return found
    good = list(good)
    found |= {
        "a tuple": just(tuple(good), good, taken=True),
        "a generator": Odd(lambda: (one for one in good), lambda: good),
        "a list of lists": just([good]),
        "a list that ends with None": just([*good, None]),
        "a numbered dict": just({f"{number}": one for number, one in enumerate(good)}),
    }
    if type(good[0]) in (int, str):
        found["an array"] = just(np.array(good), good)
        found["keys of a dict"] = just(dict.fromkeys(good).keys(), good)
    if iterable and isinstance(good[0], int | float):
        found["a dict by them"] = just(dict.fromkeys(good), good)
    if name in ("prompts", "texts"):
        bare = Odd(lambda: ["<bos>"], lambda: ["<bos>"], may_run=True)
        found["nothing but the beginning"] = bare
    if name in ("latents", "layers"):
        found["one twice"] = just([*good, good[0]], None if name == "latents" else good)
    if isinstance(good[0], str) or inspect.isclass(inner):
        found["one in place of many"] = just(good[0], [good[0]])
    for label, odd in kinds(inner, good[0], where, name).items():
        found[f"a list that begins with: {label}"] = inside(odd, functools.partial(_first, good))
    return found


def of_tuple(hint, good, where, name, empty) -> Kinds:
    inner = typing.get_args(hint)
    if not good or Ellipsis in inner:
        return of_list(hint, good, where, name, empty)
    found = {
        "a list": just(list(good), good, taken=True),
        "too long": just((*good, good[-1])),
        "too short": just(tuple(good[:-1])),
    }
    for label, odd in kinds(inner[0], good[0], where, name).items():
        found[f"begins with: {label}"] = inside(odd, functools.partial(_first, list(good)))
    return found


def _first(good: list, odd: Odd) -> Odd:
    like = odd.like and (lambda: [odd.like(), *good[1:]])
    return Odd(lambda: [odd.make(), *good[1:]], like, odd.must_be_taken, odd.not_finite)


def of_mapping(hint, good, where, name, empty) -> Kinds:
    key, value = typing.get_args(hint)
    found = {} if empty or where in MAY_BE_EMPTY else {"an empty dict": just({})}
    if not good:
        return found
    at, one = next(iter(good.items()))
    rest = {other: good[other] for other in good if other != at}
    found["a list of its items"] = just(list(good.items()))
    if isinstance(at, int):
        found["numbers as text"] = just({str(each): good[each] for each in good})
    for label, odd in kinds(key, at, where, name).items():
        if not {"list", "dict", "many"} & set(label.split()):  # which are no keys
            found[f"with the key: {label}"] = inside(odd, functools.partial(_key, rest, one))
    for label, odd in kinds(value, one, where, name).items():
        found[f"with the value: {label}"] = inside(odd, functools.partial(_value, rest, at))
    if isinstance(one, Tensor):
        found["another layer's"] = just({OTHER_LAYER: one})
    return found


def _key(rest: dict, value: object, odd: Odd) -> Odd:
    like = odd.like and (lambda: {odd.like(): value, **rest})
    return Odd(lambda: {odd.make(): value, **rest}, like, False)


def _value(rest: dict, key: object, odd: Odd) -> Odd:
    like = odd.like and (lambda: {key: odd.like(), **rest})
    return Odd(lambda: {key: odd.make(), **rest}, like, odd.must_be_taken, odd.not_finite)


def of_tensor(hint, good, where, name, empty) -> Kinds:
    if good is None:
        return {}
    found = {
        "a tensor without dimensions": just(torch.tensor(3.0)),
        "of yes and no": just(good > 0),
        "complex": just(good + 0j),
        "a list": just(good.tolist(), good, taken=True),
        "an array": just(good.numpy(), good, taken=True),
        "an array of another order": just(np.asfortranarray(good.numpy()), good, taken=True),
        "too narrow": just(good[..., :-1]),
        "too wide": just(torch.cat([good, good], -1)),
    }
    if good.is_floating_point():
        found |= {
            "half precision": just(good.half(), good.half().float(), taken=True),
            "bfloat16": just(good.bfloat16(), good.bfloat16().float(), taken=True),
            "double precision": just(good.double(), good, taken=True),
            "whole numbers": just(good.long(), good.long().float()),
            "not finite": st.builds(
                functools.partial(_not_finite, good),
                st.sampled_from([math.nan, math.inf, -math.inf]),
                st.integers(0, good.numel() - 1),
            ),
        }
    else:
        found |= {
            "fractions": just(good + 0.5),
            "negative": just(-1 - good),
            "beyond the last": just(good + 10**6),
            "the same twice": just(good[:1].expand(len(good)).clone()),
        }
    if good.ndim > 1:
        found["turned"] = just(good.T)
    if "*" not in hint.dim_str:
        found["no rows"] = just(torch.empty(0, *good.shape[1:]))
        found["one dimension more"] = just(good[None])
    if good.ndim > 1 and "*" not in hint.dim_str:
        found["fewer rows"] = just(good[:1])
        found["one row alone"] = just(good[0])
    return found


def _not_finite(good: Tensor, value: float, at: int) -> Odd:
    bad = good.clone()
    bad.view(-1)[at] = value
    return Odd(lambda: bad, not_finite=True)


def of_slice(hint, good, where, name, empty) -> Kinds:
    return {
        "a slice of texts": just(slice("a", "b")),
        "a slice of fractions": just(slice(0.5, 2.5)),
        "a slice with steps": just(slice(0, 9, 2)),
    }


def of_table(hint, good, where, name, empty) -> Kinds:
    return {
        "an empty table": just(good.iloc[:0]),
        "a table without columns": just(pd.DataFrame()),
        "another table": just(pd.DataFrame({"a": [1]})),
    }


def of_class(hint, good, where, name, empty) -> Kinds:
    found = {"its class": just(hint)}
    good_for = arguments()
    if hint is SAE:
        found["a tokenizer, which encodes and decodes"] = just(good_for["tokenizer"])
    if hint is SAE and where not in ("decode.sae", "from_latents.sae"):
        found["another layer's SAE"] = just(good_for["model"].saes[OTHER_LAYER])
    owner = where.split(".")[0]
    if hint is SAE and ("ranking" in named(owner) or owner == "decode"):
        found["a wider SAE"] = just(tiny.sae(LAYER, d_sae=2 * tiny.D_SAE))
    if hint is SAE and owner in ("encode", "wrap"):
        found["an SAE of another model"] = just(tiny.sae(LAYER, d_in=2 * tiny.D_MODEL))
    if hint is saif.SteeringVector:
        found |= vectors_of(owner)
    if hint is saif.LatentRanking and "sae" in good_for:
        ranking = good_for["ranking"]
        found["another layer's ranking"] = just(dataclasses.replace(ranking, layer=OTHER_LAYER))
    return found


def vectors_of(owner: str) -> Kinds:
    """List vectors that do not fit the model, where there is one, or the setting's layer."""
    vector, found = arguments()["like"], {}
    if "model" in named(owner) or owner == "SteeringSetting":
        found = {
            "a vector of no layer": just(dataclasses.replace(vector, layer=tiny.N_LAYERS)),
            "a vector of another model": just(dataclasses.replace(vector, vector=torch.ones(9))),
            "a vector that is not finite": just(
                dataclasses.replace(vector, vector=vector.vector * math.nan)
            ),
        }
    if "sources" in named(owner) or owner == "SteeringSetting":
        found["another layer's vector"] = just(dataclasses.replace(vector, layer=OTHER_LAYER))
    return found


def named(owner: str) -> set[str]:
    """Return the names of a function's parameters."""
    public = getattr(saif, owner, None)
    return set(inspect.signature(public).parameters) if public else set()


READERS = [
    (lambda hint: hint is int, of_int),
    (lambda hint: hint is float, of_float),
    (lambda hint: typing.get_origin(hint) is Literal, of_choice),
    (lambda hint: typing.get_origin(hint) in (Sequence, Iterable), of_list),
    (lambda hint: typing.get_origin(hint) is tuple, of_tuple),
    (lambda hint: typing.get_origin(hint) is Mapping, of_mapping),
    (lambda hint: hasattr(hint, "dim_str"), of_tensor),
    (lambda hint: hint is slice, of_slice),
    (lambda hint: hint is pd.DataFrame, of_table),
    (lambda hint: inspect.isclass(hint) and hint not in (str, bool, type(None)), of_class),
]
"""What to look for in a type, and what lists the kinds for it."""


# ------------------------------------------------------------------------------------------------
# What comes of it


REFUSED = object()


def is_own(error: Exception) -> bool:
    """Say whether the package raised an error itself, in a line of its own."""
    last = error.__traceback__
    while last.tb_next:
        last = last.tb_next
    code = last.tb_frame.f_code
    raised = dis.opname[code.co_code[last.tb_lasti]] == "RAISE_VARARGS"
    ours = Path(saif.__file__).parent in Path(code.co_filename).parents
    return raised and ours and isinstance(error, ValueError | TypeError | KeyError)


def answer(one: Subject, changes: Mapping[str, object], may_run: bool = False) -> object:
    """Call something, and return its answer, or `REFUSED` where the package refuses."""
    usual = {name: one.good(name) for name in one.parameters}
    given = {name: value for name, value in usual.items() if value is not None} | changes
    PASSES.clear()
    try:
        with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
            warnings.simplefilter("ignore")
            patch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users have it
            torch.manual_seed(0)
            found = one.call(**given)
            if isinstance(found, AbstractContextManager):
                with found:
                    return None
            found = list(found) if isinstance(found, Iterator) else found
    except Exception as error:
        if not is_own(error):
            raise
        refused = error
    else:
        return found
    assert "; " in str(refused), f"it does not say what to do: {refused}"
    assert may_run or not PASSES, f"refused only after a pass of the model: {refused}"
    return REFUSED


def same(one: object, other: object) -> bool:
    """Say whether two answers are the same, rounding aside."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and torch.allclose(
            one.double(), other.double(), rtol=1e-4, atol=1e-5, equal_nan=True
        )
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if type(one) is not type(other):
        numbers = isinstance(one, int | float) and isinstance(other, int | float)
        return numbers and math.isclose(one, other, rel_tol=1e-5)
    if isinstance(one, pd.DataFrame):
        return one.index.equals(other.index) and same(one.to_dict("list"), other.to_dict("list"))
    if dataclasses.is_dataclass(one) and not isinstance(one, saif.ModelWithSAEs):
        return same(vars(one), vars(other))
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, float):
        return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-6) or (
            one != one and other != other
        )
    if isinstance(one, saif.ModelWithSAEs):
        return one.name == other.name and list(one.saes) == list(other.saes)
    if isinstance(one, types.FunctionType):
        texts = ["", "aa", "Le chat dort bien dans le jardin.", "One two three."]
        item = saif.Item("A cat.")
        return all(one(text, item) == other(text, item) for text in texts)
    return one is other or (not isinstance(one, torch.nn.Module) and one == other)


def is_finite(found: object) -> bool:
    """Say whether all numbers of an answer are finite."""
    if isinstance(found, Tensor):
        return bool(found.isfinite().all())
    if dataclasses.is_dataclass(found):
        return is_finite(vars(found))
    if isinstance(found, Mapping):
        return all(map(is_finite, found.values()))
    if isinstance(found, list | tuple):
        return all(map(is_finite, found))
    return not isinstance(found, float) or math.isfinite(found)


@functools.cache
def usual_answer(name: str) -> object:
    """Return the answer to what everything should be."""
    return answer(subjects()[name], {})


def check(one: Subject, parameter: str, odd: Odd, label: str) -> None:
    """Give something odd for an argument and check what comes of it."""
    given = odd.make()
    found = answer(one, {parameter: given}, odd.may_run)
    if found is REFUSED:
        problem = odd.must_be_taken and "was refused, though it is clear what is meant"
    elif odd.not_finite:
        problem = is_finite(found) and f"gave finite numbers: {found!r:.300}"
    elif odd.like is None:
        problem = f"was taken: {found!r:.300}"
    else:
        like = odd.like()
        usual = like is one.good(parameter)
        expected = usual_answer(one.name) if usual else answer(one, {parameter: like})
        problem = not same(found, expected) and f"gave {found!r:.300}, not {expected!r:.300}"
    if problem:
        pytest.fail(f"{one.name}({parameter}={given!r:.200}), {label}, {problem}")


def kinds_of(one: Subject, parameter: str) -> Kinds:
    """List what is given for a parameter."""
    default = one.parameters[parameter].default
    empty = isinstance(default, tuple | list | dict) and not default
    empty = empty or default is dataclasses._HAS_DEFAULT_FACTORY
    where = one.where(parameter)
    found = kinds(one.hints[parameter], one.good(parameter), where, parameter, empty=empty)
    return {
        label: odd
        for label, odd in found.items()
        if (f"{one.name}.{parameter}", label) not in AS_IT_IS
        and not (one.name in SLOW and isinstance(odd, Odd) and odd.like is not None)
    }


CASES = [
    pytest.param(name, parameter, id=f"{name}-{parameter}")
    for name, one in subjects().items()
    for parameter in one.parameters
]


def check_fixed(one: Subject, parameter: str) -> None:
    """Give everything odd that is always the same."""
    for label, odd in kinds_of(one, parameter).items():
        if isinstance(odd, Odd):
            check(one, parameter, odd, label)


@pytest.mark.parametrize(("name", "parameter"), CASES)
def test_odd_input_is_taken_as_meant_or_refused_in_words(name, parameter):
    one = subjects()[name]
    check_fixed(one, parameter)
    changing = {
        label: odd for label, odd in kinds_of(one, parameter).items() if not isinstance(odd, Odd)
    }
    n_examples = settings.default.max_examples // (5 if name in SLOW else 1)

    @settings(max_examples=n_examples)
    @given(st.fixed_dictionaries(changing))
    def each_kind(found):
        for label, odd in found.items():
            check(one, parameter, odd, label)

    if changing:
        each_kind()


@pytest.mark.parametrize("name", [name for name in subjects() if name not in SLOW])
def test_what_each_of_them_should_get_is_taken(name):
    assert usual_answer(name) is not REFUSED


def test_there_is_something_odd_to_give_for_every_argument():
    few = {
        f"{one.name}.{parameter}": len(kinds_of(one, parameter))
        for one in subjects().values()
        for parameter in one.parameters
        if one.hints[parameter] is not Any
    }
    assert min(few.values()) >= 8, min(few, key=few.get)
    assert sum(few.values()) > 7000
    unused = {name.split(".")[0] for name, _ in AS_IT_IS} - {name.split(".")[0] for name in few}
    assert not unused


def test_a_raw_error_is_no_refusal():
    sae, weights = model().saes[LAYER], torch.ones(2)
    with pytest.raises(IndexError) as raw:
        sum_of_directions(sae, torch.tensor([0, tiny.D_SAE]), weights)
    assert not is_own(raw.value)
    with pytest.raises(KeyError) as looked_up:
        Sampling().options["no such option"]
    assert not is_own(looked_up.value)
    with refused("n") as caught:
        saif.wilson(1, "2")
    assert is_own(caught.value)


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (just("3"), "was taken"),
        (just(3.0, 4), "gave .* not"),
        (just("three", 3, taken=True), "was refused, though"),
        (Odd(lambda: 3, not_finite=True), "gave finite numbers"),
    ],
)
def test_what_is_wrongly_taken_or_refused_is_found(odd, said):
    """By a function that takes any number or text of one, and refuses other texts."""
    function = Subject("wilson", _careless, {"n": None}, {"n": int})
    with pytest.raises(pytest.fail.Exception, match=said):
        check(function, "n", odd, "a kind")


def _careless(n: object) -> float:
    if n == "three":
        return saif.wilson(1, n)
    return float(n)


WITHOUT_CHECKS_OF_TYPES = """
import sys
import test_generated_inputs as here
assert not any("jaxtyping" in type(finder).__module__ for finder in sys.meta_path)
for name in sys.argv[1:]:
    for parameter in here.subjects()[name].parameters:
        here.check_fixed(here.subjects()[name], parameter)
print("all as it should be")
"""


def test_so_it_is_where_the_checks_of_types_were_never_installed():
    names = ["SteeringVector", "capture", "encode", "generate", "rank_latents", "saif_vector"]
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_CHECKS_OF_TYPES, *names],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
        capture_output=True,
        text=True,
    )
    assert result.stdout.strip() == "all as it should be", result.stderr
