"""The messages of refusals, word for word: at least one of each kind of place that raises.

Other tests look at the class of an error and the argument or path that it names (`refusals`).
"""

from dataclasses import replace

import pandas as pd
import pytest
import tiny
import torch
from safetensors.torch import save_file

from saif_helpers._internal.errors import ArgumentError, FileContentError
from saif_helpers.activations import capture
from saif_helpers.analysis.output_effect import gradient_influence
from saif_helpers.analysis.separation import auroc
from saif_helpers.analysis.stability import jaccard
from saif_helpers.analysis.vocabulary import promoted_tokens
from saif_helpers.book.results import read_results
from saif_helpers.comparison import check_distinct, paired_difference
from saif_helpers.contents import Content, load_contents
from saif_helpers.display.figures import interval_bars
from saif_helpers.display.slider import Frames
from saif_helpers.export import control_vector, easysteer_spec
from saif_helpers.generation.decoding import Sampling
from saif_helpers.graders.checks import language_is, matches, word_count
from saif_helpers.graders.grader import Item
from saif_helpers.grading import Grades, grade
from saif_helpers.hub.devices import check_device
from saif_helpers.hub.gguf_files import converted
from saif_helpers.hub.loading import load
from saif_helpers.hub.parallel_corpus import load_parallel
from saif_helpers.hub.published_saes import choose_layers, pretrained_saes, width_of
from saif_helpers.instructions import InstructionType, load_instructions
from saif_helpers.intervals import wilson
from saif_helpers.judge.judge import Judge
from saif_helpers.latents import decode, encode
from saif_helpers.model.assemble import wrap
from saif_helpers.model.saes import layer_of
from saif_helpers.prompts import make_pairs, render
from saif_helpers.random_controls import random_latents_vector
from saif_helpers.ranking import LatentRanking, rank_latents
from saif_helpers.steering import generate
from saif_helpers.study.baselines import force_first_token
from saif_helpers.study.claims import bounded_share, verdict
from saif_helpers.study.first_word import choose_first_token
from saif_helpers.study.pooled_difference import pooled_difference
from saif_helpers.study.preparation import check_rules, check_settings
from saif_helpers.study.search import check_search
from saif_helpers.study.settings import settings_grid
from saif_helpers.study.sweep import best_setting, check_by, check_no_test_leakage
from saif_helpers.vector_rules import mean_difference_vector, saif_vector, steering_vector
from saif_helpers.vectors import SteeringVector

MODEL, SAE, PROMPTS = tiny.wrapped("llama"), tiny.sae(1), tiny.PROMPTS[1:3]
FRENCH, CONTENTS = load_instructions()["french"], [Content("Mars is red.")]


def ranking(n: int = 5, mean: float = 1.0) -> LatentRanking:
    """Return a ranking of n latents that are all alike."""
    alike = torch.full((n,), mean)
    return LatentRanking(alike, alike, alike, alike, torch.arange(n), layer=1)


def graded(name: str) -> Grades:
    """Return the grades of one output of an instruction."""
    return Grades(name, (Item("A cat."),), ("Oui.",), (True,), (True,))


def changed_sae(**config) -> object:
    """Return an SAE with another configuration."""
    sae = tiny.sae(1)
    for name, value in config.items():
        setattr(sae.cfg, name, value)
    return sae


def unnamed_sae() -> object:
    """Return an SAE that does not specify its layer."""
    sae = tiny.sae(1)
    sae.cfg.metadata.hook_name = None
    return sae


def base_tokenizer() -> object:
    """Return a tokenizer without a chat template."""
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = None
    return tokenizer


def load_vector_with(path, about: str | None) -> SteeringVector:
    """Load a safetensors file with a description of a vector that `save` did not write."""
    metadata = None if about is None else {"steering_vector": about}
    save_file({"vector": torch.ones(4)}, path, metadata)
    return SteeringVector.load(path)


MESSAGES = [
    (lambda: ranking().top("5"), "k='5' given; give an integer"),
    (lambda: ranking().top(2.5), "k=2.5 given; give an integer"),
    (lambda: ranking().top(6), "k = 6 given; give 1 to 5, the number of latents"),
    (lambda: ranking().by(torch.ones(4)), "4 scores given for 5 latents; give one for each"),
    (lambda: wilson(3, 2), "3 of 2 given; give a count from 0 to n and an n of at least 1"),
    (
        lambda: wilson(1, 2, confidence=95.0),
        "confidence=95.0 given; give a share between 0 and 1; 95 % is 0.95",
    ),
    (
        lambda: make_pairs(FRENCH, CONTENTS, MODEL, position="inside"),
        "position 'inside' given; give 'after' or 'before'",
    ),
    (
        lambda: make_pairs(FRENCH, CONTENTS, MODEL, seed=-1),
        "seed=-1 given; give an integer from 0 to 9223372036854775807",
    ),
    (lambda: make_pairs(FRENCH, [], MODEL), "make_pairs was given no contents; give at least one"),
    (
        lambda: make_pairs("frnch", CONTENTS, MODEL),
        "instruction 'frnch' given; there are french, spanish, german, summarise, "
        "uppercase, keyword, question, json, answer_french, answer_german, "
        "answer_spanish, python, json_answer, poem, list, email",
    ),
    (
        lambda: capture(MODEL, "Short.", [0]),
        "prompts='Short.' given, a single string; give a list of prompts",
    ),
    (lambda: capture(MODEL, PROMPTS, []), "no layers given; tiny-llama has layers 0-2"),
    (lambda: capture(MODEL, PROMPTS, [3]), "layer 3 given; tiny-llama has layers 0-2"),
    (
        lambda: capture(MODEL, ["Short."], [0]),
        "the prompt 'Short.' does not start with '<bos>'; create it with prompts.render "
        "or prompts.make_pairs",
    ),
    (
        lambda: capture(MODEL, ["<bos>" + "x" * 600], [0]),
        "prompt 0 ('<bos>xxxxxxxxxxxxxxxxxxx'...) has 601 tokens, but tiny-llama has "
        "room for 512; shorten it",
    ),
    (
        lambda: capture({}, PROMPTS, [0]),
        "model=a dict given; give a ModelWithSAEs, as load returns",
    ),
    (
        lambda: SteeringVector(1, torch.ones(2, 2)),
        "a steering vector of shape (2, 2) and torch.float32 given; give a "
        "floating-point number per dimension",
    ),
    (
        lambda: SteeringVector(1, torch.ones(4)).scaled(torch.inf),
        "strength=inf given; give a finite number",
    ),
    (
        lambda: SteeringVector(1, torch.ones(4)).at("everywhere"),
        "placement 'everywhere' given; give 'last_prompt_token', 'every_position', "
        "'generated_tokens' or 'decaying'",
    ),
    (
        lambda: SteeringVector(1, torch.ones(4)).at("decaying", decay=2.0),
        "decay=2.0 given; give a number from 0 to 1",
    ),
    (
        lambda: SteeringVector.from_latents(SAE, {64: 1.0}),
        "latent 64 given; the SAE has latents 0-63",
    ),
    (lambda: SteeringVector.from_latents(SAE, [3, 3]), "latent 3 given 2 times; give each once"),
    (
        lambda: SteeringVector.from_latents(SAE, {3: 1.0}, layer=2),
        "layer 2 needs its own SAE; the given one is of layer 1",
    ),
    (
        lambda: InstructionType("shout", {"en": ["Shout."]}, lambda output, item: True),
        "instruction 'shout' has 1 wordings; give at least two, so that what is found is "
        "not tied to one wording",
    ),
    (
        lambda: InstructionType("shout", {"en": ["Shout.", "Shout."]}, lambda output, item: True),
        "instruction 'shout' has the wording 'Shout.' more than once; wordings are "
        "weighted equally, so give each once",
    ),
    (
        lambda: InstructionType(
            "use", {"en": ["Use {x}.", "Take it."]}, lambda o, i: True, slots=["x"]
        ),
        "instruction 'use' has the slots ['x'], but its wording 'Take it.' has []; write "
        "each slot in braces in every wording",
    ),
    (
        lambda: InstructionType("use", {"en": ["Use {.", "Take it."]}, lambda output, item: True),
        "instruction 'use' has the wording 'Use {.', whose braces cannot be read "
        "(expected '}' before end of string); write a slot as {name}, and a literal "
        "brace as {{ or }}",
    ),
    (
        lambda: InstructionType("shout", {"en": ["One.", " "]}, lambda output, item: True),
        "instruction 'shout' has an empty wording in 'en'; remove it",
    ),
    (
        lambda: replace(FRENCH, held_out_language="ja"),
        "instruction 'french' holds out the language 'ja', but has wordings in en, fr, es, de, zh, "
        "ru",
    ),
    (
        lambda: replace(FRENCH, held_out_wordings=(99,)),
        "instruction 'french' holds out the wordings [99], but every language has the indices "
        "0-11 only",
    ),
    (lambda: FRENCH.select("seen", []), "no languages given; give some, or None for all"),
    (
        lambda: replace(FRENCH, held_out_language=None, held_out_wordings=()).select("unseen"),
        "instruction 'french' has no unseen wordings: set held_out_language and "
        "held_out_wordings, or select other wordings",
    ),
    (lambda: FRENCH.select("unknown"), "wordings 'unknown' given; give 'seen', 'unseen' or 'all'"),
    (
        lambda: FRENCH.select(languages=["xx"]),
        "instruction 'french' has no all wordings in xx; it has them in en, fr, es, de, zh, ru",
    ),
    (
        lambda: render("Hello.", base_tokenizer(), "chat"),
        "style 'chat' given, but the tokenizer has no chat template, like those of base models; "
        "give 'plain', or use the instruction-tuned model",
    ),
    (lambda: render(" ", MODEL.tokenizer), "the text ' ' is empty; give a text"),
    (
        lambda: render("<eos>", MODEL.tokenizer),
        "the text '<eos>' contains the special token '<eos>', which the model would read "
        "as a marker; remove it from the text",
    ),
    (
        lambda: render("a\x00", MODEL.tokenizer),
        "the text 'a\\x00' contains U+0000, a control character; of control characters "
        "only tabs and line breaks are allowed: remove it, or read the file in its "
        "encoding",
    ),
    (
        lambda: load_contents("train"),
        "split 'train' given; the file has identification, test, validation",
    ),
    (lambda: Content("A cat.", slots={"n": 3}), "slots['n']=3 given; give a string"),
    (
        lambda: load("gpt"),
        "model 'gpt' given; there are organism, smollm2-135m-instruct, gemma-2-2b, "
        "gemma-2-2b-it, gemma-2-9b, gemma-2-9b-it, llama-3.1-8b, llama-3.1-8b-instruct, "
        "gemma-3-270m-it, gemma-3-1b-it, gemma-3-4b-it, gemma-3-12b-it, or give a "
        "Hugging Face repository such as 'Qwen/Qwen3-8B' together with saes or release",
    ),
    (lambda: load(size="XL"), "organism of size 'XL' given; there are L, M, S, S-1, S-2"),
    (
        lambda: load("google/gemma-2-2b", layers="last", saes={}),
        "layers 'last' given; give 'final', 'spread' or 'all'",
    ),
    (
        lambda: wrap(torch.nn.Linear(2, 2), MODEL.tokenizer, {}, name="mine"),
        "Linear does not have the architecture of Gemma or Llama (model.layers), GPT-2 "
        "or Pythia (gpt_neox.layers); give a transformers causal language model that "
        "does",
    ),
    (
        lambda: wrap(MODEL.lm, MODEL.tokenizer, {(1, 5): SAE}, name="tiny"),
        "the SAE for layer 1, width 5 has 64 latents; key it by that width",
    ),
    (
        lambda: wrap(MODEL.lm, MODEL.tokenizer, {3: tiny.sae(3)}, name="tiny"),
        "the SAE for layer 3, width 64 does not fit; tiny has layers 0-2",
    ),
    (
        lambda: wrap(MODEL.lm, MODEL.tokenizer, {1: tiny.sae(1, d_in=16)}, name="tiny"),
        "the SAE for layer 1, width 64 has d_in 16, but tiny has d_model 32; give an SAE of this "
        "model",
    ),
    (
        lambda: layer_of(tiny.sae(1, hook_name="blocks.1.hook_mlp_out")),
        "the SAE reads 'blocks.1.hook_mlp_out'; only the residual stream after a layer is "
        "supported, as blocks.N.hook_resid_post, blocks.N.hook_resid_pre or model.layers.N",
    ),
    (
        lambda: layer_of(tiny.sae(1, hook_name="blocks.0.hook_resid_pre")),
        "the SAE reads 'blocks.0.hook_resid_pre', the embedding, which precedes all layers; give "
        "an SAE of the residual stream after a layer",
    ),
    (
        lambda: SteeringVector.from_latents(changed_sae(normalize_activations="layer_norm"), [3]),
        "the SAE normalises its input ('layer_norm'), so W_dec is not in residual-stream units; "
        "fold a constant scale into the weights first (sae.fold_activation_norm_scaling_factor); "
        "a scale that differs from token to token cannot be folded",
    ),
    (
        lambda: SteeringVector.from_latents(changed_sae(rescale_acts_by_decoder_norm=True), [3]),
        "the SAE rescales activations by the norm of W_dec; call sae.fold_W_dec_norm() first",
    ),
    (
        lambda: SteeringVector.from_latents(unnamed_sae(), [3]),
        "the SAE does not specify its layer; give layer=",
    ),
    (
        lambda: encode(SAE, {0: torch.ones(1, 32)}),
        "the SAE was trained on layer 1, but the residual stream of the layers [0] is given; give "
        "the SAE of one of these, or capture layer 1",
    ),
    (
        lambda: encode(unnamed_sae(), {0: torch.ones(1, 32), 1: torch.ones(1, 32)}),
        "the SAE does not specify its layer, and the residual stream of the layers [0, 1] is "
        "given; give that of one layer",
    ),
    (
        lambda: choose_layers([26], 26, "gemma-2-2b"),
        "layer 26 given; gemma-2-2b has layers 0-25",
    ),
    (
        lambda: choose_layers([], 26, "gemma-2-2b"),
        "layers=[] given; give 'final', 'spread', 'all' or integers",
    ),
    (
        lambda: pretrained_saes(["gemma-scope-3"]),
        "release 'gemma-scope-3' given, which the installed SAE-Lens does not list; see its "
        "documentation for the list",
    ),
    (
        lambda: pretrained_saes(["gpt2-small-res-jb"]),
        "the ids of gpt2-small-res-jb do not have a known format with layer and width; give the "
        "SAEs explicitly: saes={layer: (release, sae_id)}",
    ),
    (
        lambda: load_parallel("eng_Latn", {}, "dev"),
        "load_parallel was given no targets; give instruction names and configurations, for "
        "example {'french': 'fra_Latn'}",
    ),
    (
        lambda: wrap(MODEL.lm, MODEL.tokenizer, {2: SAE}, name="tiny"),
        "the SAE for layer 2, width 64 was trained on layer 1; key it by that layer",
    ),
    (
        lambda: encode(SAE, torch.ones(3, 7)),
        "the residual stream is 7 wide, the SAE reads 32; give the SAE of the model that "
        "the residual stream comes from",
    ),
    (lambda: decode(SAE, torch.ones(3, 7)), "7 latents given; the SAE has 64"),
    (
        lambda: width_of("64k"),
        "width '64k' given; give a number of latents or one of 4k, 16k, 32k, 65k, 131k, "
        "262k, 524k, 1m",
    ),
    (lambda: check_device("tpu"), "device 'tpu' given; give 'cpu', 'cuda', 'cuda:1' or 'auto'"),
    (
        lambda: rank_latents(torch.ones(0, 5), torch.ones(0, 5)),
        "rank_latents was given no pairs; give at least one",
    ),
    (
        lambda: rank_latents(-torch.ones(2, 5), torch.ones(2, 5)),
        "the latents have activations from -1 to -1; those of a latent are finite and "
        "never negative: give the result of `encode`, not the residual stream",
    ),
    (
        lambda: mean_difference_vector({0: torch.ones(3, 4)}, {0: torch.ones(3, 4)}, 1),
        "the difference in means needs layer 1, but residual stream of [0] was given; "
        "give both halves of what capture_pairs(model, pairs, [1]) returns",
    ),
    (
        lambda: saif_vector(ranking(), SAE, 2),
        "the ranking has 5 latents, the SAE 64; give the SAE that the ranked activations come from",
    ),
    (
        lambda: saif_vector(ranking(64, 0.0), SAE, 2),
        "no latent is active on any positive sample, so there is no direction to steer "
        "in; use another layer or SAE, or check the SAE with reconstruction_table",
    ),
    (
        lambda: steering_vector(ranking(), SAE, 2, beta=1.0),
        "rule 'signed latents' with beta=1 given; give rule='paper', or no beta",
    ),
    (
        lambda: random_latents_vector(ranking(64), SAE, 40, seed=0),
        "only 24 latents outside the top 40 were ever active; give k of at most 24, or "
        "rank on more samples",
    ),
    (
        lambda: generate(MODEL, PROMPTS, [None]),
        "1 steering vectors given for 2 prompts; give one for each prompt, None for "
        "unsteered ones, or a single one for all",
    ),
    (
        lambda: generate(MODEL, PROMPTS, "french"),
        "steering='french' given; give a SteeringVector or a ClampedLatents or a list of "
        "SteeringVector objects or ClampedLatents objects or lists of SteeringVector "
        "objects or ClampedLatents objects or None",
    ),
    (
        lambda: generate(MODEL, PROMPTS, SteeringVector(1, torch.ones(5))),
        "the steering vector (a vector) has 5 entries; tiny-llama has d_model 32",
    ),
    (
        lambda: generate(MODEL, PROMPTS, SteeringVector(1, torch.full((32,), torch.nan))),
        "the steering vector (a vector) is not finite; make it from finite activations",
    ),
    (
        lambda: SteeringVector(1, torch.ones(5)).save("x.safetensors", MODEL),
        "the vector belongs to tiny-llama and has 5 entries; tiny-llama has d_model 32; give the "
        "model that the vector was made for",
    ),
    (
        lambda: SteeringVector(9, torch.ones(32)).save("x.safetensors", MODEL),
        "the vector belongs to tiny-llama, layer 9 of 3; tiny-llama has 3 layers; give the model "
        "that the vector was made for",
    ),
    (
        lambda: generate(MODEL, PROMPTS, max_new_tokens=600),
        "600 new tokens requested; the context of tiny-llama has room for 512 tokens, "
        "including the prompt; request fewer",
    ),
    (
        lambda: generate(MODEL, PROMPTS, stop=""),
        "an empty string given in stop; give non-empty strings",
    ),
    (lambda: Sampling(temperature=0.0), "temperature=0.0 given; give a number above 0"),
    (
        lambda: force_first_token(MODEL, PROMPTS, "<eos>"),
        "the special token '<eos>' cannot be forced as a first token; give a token that "
        "an answer can start with",
    ),
    (
        lambda: grade(["Oui."], [], FRENCH),
        "1 outputs and 0 items given; give equally many, at least one",
    ),
    (
        lambda: grade("Oui.", [], FRENCH),
        "outputs='Oui.' given, a single string; give a list of outputs",
    ),
    (
        lambda: paired_difference(graded("french"), graded("german"), "loose"),
        "grades for 'french' and 'german'; compare one instruction",
    ),
    (
        lambda: check_distinct(["Mars is red."] * 4),
        "the content 'Mars is red.' occurs 4 times; give each test content once",
    ),
    (
        lambda: paired_difference(
            graded("french"), replace(graded("french"), items=(Item("A dog."),)), "loose"
        ),
        "the grades are of different contents; grade both on the same",
    ),
    (
        lambda: pooled_difference(graded("french"), graded("german"), "loose"),
        "grades for 'french' and 'german'; compare one instruction",
    ),
    (
        lambda: matches("("),
        "the pattern '(' is not valid: missing ), unterminated subpattern at position 0",
    ),
    (lambda: language_is("it"), "language 'it' given; it must be one of en, fr, es, de"),
    (lambda: word_count(3, 2), "3 to 2 words given; give 0 <= least <= most"),
    (lambda: verdict([]), "verdict was given no checks; give at least one"),
    (
        lambda: bounded_share(3, 2, 5),
        "3 surely and 2 possibly of 5 given; give 0 <= surely <= possibly <= n, and n of "
        "at least 1",
    ),
    (
        lambda: Judge(base_url="host"),
        "base_url must be like 'https://api.openai.com/v1', with no name, password or "
        "query in it; give the key through the environment",
    ),
    (lambda: settings_grid([], 15, 0.0, "decaying"), "no layers given; give at least one"),
    (
        lambda: check_search(CONTENTS, (1, 2, 3), 1),
        "1 contents given, but the last round needs 3; give more validation contents or "
        "smaller rounds",
    ),
    (
        lambda: check_search(CONTENTS * 3, (2, 2, 3), 1),
        "rounds=(2, 2, 3) and least=1 given; each round must steer more contents "
        "than the one before it, and keep at least one setting",
    ),
    (
        lambda: check_no_test_leakage([Content("Mars is red.", split="test")]),
        "the content 'Mars is red.' is in the split 'test'; find latents on the "
        "identification split and choose settings on the validation split, never on "
        "contents that are reported",
    ),
    (
        lambda: check_no_test_leakage(
            [Content("Mars is red.")], [Content("mars  is RED.", split="test")]
        ),
        "the content 'Mars is red.' has the text of a test content, though its split is ''; find "
        "latents on the identification split and choose settings on the validation split, never "
        "on contents that are reported",
    ),
    (
        lambda: check_rules(["paper"], n_random=0),
        "n_random=0 given; the verdict needs at least 1",
    ),
    (
        lambda: check_settings(MODEL, 15, (), (0.5,), n_cards=3),
        "no strengths or no decays given; give at least one of each",
    ),
    (
        lambda: check_settings(MODEL, 15, (1.0,), (0.5,), n_cards=65),
        "n_cards=65 given; there are only 64 latents",
    ),
    (lambda: check_by("broken"), "by='broken' given; give 'strict' or 'loose'"),
    (
        lambda: choose_first_token(MODEL, FRENCH, CONTENTS, ["", ""]),
        "only empty answers given; give some with a first token",
    ),
    (lambda: best_setting(pd.DataFrame()), "an empty table given; sweep at least one setting"),
    (
        lambda: auroc(torch.ones(0, 2), torch.ones(3, 2)),
        "0 positive and 3 negative samples given; give both",
    ),
    (
        lambda: gradient_influence(MODEL, SAE, PROMPTS, ["Oui."], 0),
        "1 answers given for 2 prompts; give one each",
    ),
    (
        lambda: gradient_influence(MODEL, SAE, PROMPTS, ["", ""], 0),
        "2 of 2 answers are empty, the first of them answer 0; leave out those prompts, or give "
        "answers with at least one token",
    ),
    (
        lambda: promoted_tokens(torch.ones(2, 3), MODEL.tokenizer, 4),
        "n = 4 given; the vocabulary has 3 tokens",
    ),
    (
        lambda: jaccard(torch.tensor([], dtype=int), torch.tensor([], dtype=int)),
        "jaccard was given two empty sets; give at least one latent",
    ),
    (
        lambda: interval_bars(pd.DataFrame(columns=["x", "value", "low", "high"]), "x"),
        "an empty table given; give at least one row",
    ),
    (
        lambda: interval_bars(
            pd.DataFrame({"x": ["a", "a"], "value": 0.5, "low": 0.4, "high": 0.6}), "x"
        ),
        "more than one row has {'x': 'a'}; give one for each x",
    ),
    (
        lambda: interval_bars(
            pd.DataFrame({"x": ["a"], "value": 0.5, "low": 0.6, "high": 0.7}), "x"
        ),
        "the interval does not contain the value in rows [0]",
    ),
    (lambda: Frames("strength", {}, "1"), "start '1' given; the tables are none"),
    (
        lambda: control_vector(
            SteeringVector(0, torch.ones(4)).at("every_position"), "x.gguf", MODEL
        ),
        "the vector is added after layer 0, which llama.cpp cannot steer; give a vector "
        "of a later layer",
    ),
    (
        lambda: control_vector(SteeringVector(1, torch.ones(4)), "x.gguf", MODEL),
        "the vector is added at: layer 1, last prompt token, strength 1; llama.cpp adds "
        "at every position; export vector.at('every_position'), if that is what you want",
    ),
    (
        lambda: easysteer_spec(SteeringVector(1, torch.ones(4)), "x.pt", MODEL),
        "path 'x.pt' given; EasySteer takes a name *.gguf without a |",
    ),
]


@pytest.mark.parametrize(("call", "message"), MESSAGES, ids=range(len(MESSAGES)))
def test_the_message_says_what_was_wrong_and_what_to_do(call, message):
    with pytest.raises(ArgumentError) as caught:
        call()
    assert str(caught.value) == message


FILES = [
    (
        "french.safetensors",
        "x",
        lambda path: SteeringVector.load(path),
        "{path} is not a safetensors file, or is truncated (Error while deserializing: "
        "header too small); give a file that SteeringVector.save wrote",
    ),
    (
        "french.safetensors",
        "",
        lambda path: load_vector_with(path, None),
        "{path} is a safetensors file without a steering vector's description; give a file that "
        "SteeringVector.save wrote",
    ),
    (
        "french.safetensors",
        "",
        lambda path: load_vector_with(
            path, '{"format": "saif-vector-9", "sha256": "", "package": "7.0"}'
        ),
        "{path} has the format 'saif-vector-9', but this version reads 'saif-vector-1'; load it "
        "with the version that wrote it (7.0)",
    ),
    (
        "french.safetensors",
        "",
        lambda path: load_vector_with(path, '{"format": "saif-vector-1", "sha256": ""}'),
        "{path} is damaged: its sha256 sum does not match; save the vector again, or use another "
        "copy of the file",
    ),
    (
        "mine.jsonl",
        "{",
        lambda path: load_contents("test", path=path),
        "{path}, line 1 is not JSON: Expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1)",
    ),
    (
        "mine.jsonl",
        "{}",
        lambda path: load_contents("test", path=path),
        '{path}, line 1 needs "split" and "content", both text; it is \'{}\'. Other '
        'texts in it fill slots; "references" may hold right answers by the name of the '
        "instruction",
    ),
    (
        "model.gguf",
        "x",
        lambda path: converted(path),
        "{path} is not a GGUF file, which starts with the letters GGUF",
    ),
    (
        "made.json",
        "{}",
        lambda path: read_results(path),
        "{path} is not a result file, and a result that does not say what it was made "
        "with is not shown (rows: Field required); make one with: make results MODEL=...",
    ),
]


@pytest.mark.parametrize(("name", "text", "read", "message"), FILES, ids=range(len(FILES)))
def test_the_message_names_the_file(tmp_path, name, text, read, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(FileContentError) as caught:
        read(path)
    assert str(caught.value) == message.replace("{path}", str(path))
