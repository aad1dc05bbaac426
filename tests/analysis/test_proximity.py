import numpy as np
import pytest
import tiny
import torch
from refusals import refused

from saif_helpers.analysis.separation import auroc, auroc_interval, enrichment, success_correlation
from saif_helpers.analysis.vocabulary import (
    characteristic_tokens,
    logit_lens,
    promoted_tokens,
    vocabulary_scores,
)

TOKENIZER = tiny.tokenizer()


@pytest.mark.parametrize("kind", ["gemma2", "llama"])
def test_the_lens_is_what_the_model_does_after_its_last_layer(kind):
    model = tiny.wrapped(kind)
    network = model.lm._module
    ids = torch.tensor([[2, 70, 80, 90]])
    with torch.no_grad():
        result = network(input_ids=ids, output_hidden_states=True, use_cache=False)
        before_norm = []
        handle = network.model.norm.register_forward_pre_hook(
            lambda _, inputs: before_norm.append(inputs[0])
        )
        network(input_ids=ids, use_cache=False)
        handle.remove()
    logits = logit_lens(model, before_norm[0][0])
    cap = getattr(network.config, "final_logit_softcapping", None)
    capped = cap * torch.tanh(logits / cap) if cap else logits
    assert torch.allclose(capped, result.logits[0], atol=1e-5)


def test_the_length_of_a_direction_does_not_matter():
    model = tiny.wrapped("gemma2")
    directions = torch.randn(5, tiny.D_MODEL)
    assert torch.allclose(
        logit_lens(model, directions), logit_lens(model, 7 * directions), atol=1e-3
    )
    assert not torch.allclose(logit_lens(model, directions), logit_lens(model, -directions))


def test_directions_of_another_width_are_refused():
    with refused("directions"):
        logit_lens(tiny.wrapped("gemma2"), torch.zeros(2, 31))


def test_promoted_and_suppressed_tokens_are_the_ends_of_the_order():
    ids = TOKENIZER("abc", add_special_tokens=False)["input_ids"]
    logits = torch.zeros(2, len(TOKENIZER))
    logits[0, ids] = torch.tensor([3.0, 2.0, -5.0])
    logits[1, ids] = torch.tensor([-1.0, 2.0, 5.0])
    assert promoted_tokens(logits, TOKENIZER, 2) == [["a", "b"], ["c", "b"]]
    assert promoted_tokens(logits, TOKENIZER, 1, suppressed=True) == [["c"], ["a"]]
    with refused("n"):
        promoted_tokens(logits, TOKENIZER, 0)


def test_own_vocabulary_is_in_the_answers_and_hardly_elsewhere():
    answers, others = ["xa", "xb", "xc", "a"], ["a", "b", "ca", "da"]
    found = characteristic_tokens(answers, others, TOKENIZER, least_share=0.5)
    assert TOKENIZER.decode(found) == "x"
    # c: in a quarter of both; with a ratio of 1 it counts, with one above 1 it does not
    for ratio, expected in ((1.0, "bcx"), (1.1, "x")):
        found = characteristic_tokens(answers, others, TOKENIZER, least_share=0.2, ratio=ratio)
        assert sorted(TOKENIZER.decode(found)) == sorted(expected)
    with refused("answers"):
        characteristic_tokens([], ["a"], TOKENIZER)


def test_auroc_by_hand_and_counted_pair_by_pair():
    positive, negative = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [1.0]])
    assert auroc(positive, negative).tolist() == [3.5 / 4]
    positive, negative = torch.rand(40, 6).round(decimals=1), torch.rand(25, 6).round(decimals=1)
    above = (positive[:, None] > negative[None]).double()
    equal = (positive[:, None] == negative[None]).double()
    assert torch.allclose(auroc(positive, negative), (above + equal / 2).mean((0, 1)))
    with refused("negative"):
        auroc(positive[:0], negative)


def test_the_interval_covers_at_least_as_often_as_it_says():
    generator = torch.Generator().manual_seed(0)
    truth = 0.5 * (1 + torch.erf(torch.tensor(1.0 / 2)).item())  # normal values, means 1 apart
    covered = 0
    for _ in range(300):
        positive = torch.randn(60, 1, generator=generator) + 1
        area = auroc(positive, torch.randn(50, 1, generator=generator)).item()
        interval = auroc_interval(area, 60, 50)
        assert interval.low <= area <= interval.high
        covered += interval.low <= truth <= interval.high
    assert covered >= 0.95 * 300


def test_an_interval_that_is_to_cover_more_is_wider():
    usual, wide = (auroc_interval(0.8, 60, 50, confidence) for confidence in (0.95, 0.997))
    assert wide.low < usual.low < usual.value < usual.high < wide.high
    assert usual.n == 50


def test_perfect_separation_still_has_an_interval():
    interval = auroc_interval(1.0, 40, 60)
    assert interval.high == 1.0
    assert interval.low == pytest.approx(0.912, abs=0.001)


def test_enrichment_finds_planted_latents_and_not_random_ones():
    scores, planted, pool = torch.rand(60), torch.arange(5), torch.arange(60)
    scores[:5] += 0.8
    found = enrichment(scores, planted, pool)
    assert found["score"] == pytest.approx(scores[:5].mean().item())
    assert found["p"] == pytest.approx(0.001)
    assert found["low"] < found["random"] < found["high"] < found["score"]
    other = enrichment(scores, torch.arange(20, 25), pool)
    assert other["p"] > 0.05
    assert enrichment(scores, planted, pool, seed=0).equals(found)
    with refused("pool"):
        enrichment(scores, planted, pool[:3])


@pytest.mark.parametrize(
    ("scores", "chosen", "draws"), [(1.0, [], 9), (1.0, [1], 0), (torch.nan, [1], 9)]
)
def test_nothing_chosen_is_enriched_by_nothing(scores, chosen, draws):
    given = torch.full((4,), scores), torch.tensor(chosen, dtype=torch.long), torch.arange(4)
    with refused("chosen"):
        enrichment(*given, draws=draws)


@pytest.mark.parametrize("chunk", [1, 7, 256])
def test_scores_of_directions_are_the_areas_of_their_logits(chunk):
    model, vocabulary = tiny.wrapped("gemma2"), torch.tensor([3, 40, 41, 200])
    directions = torch.cat([torch.randn(9, tiny.D_MODEL), torch.zeros(1, tiny.D_MODEL)])
    logits = logit_lens(model, directions)
    own = torch.zeros(logits.shape[1], dtype=torch.bool)
    own[vocabulary] = True
    scores = vocabulary_scores(model, directions, vocabulary, chunk)
    torch.testing.assert_close(scores, auroc(logits[:, own].T, logits[:, ~own].T))
    assert scores[-1] == 0.5  # all ties
    with refused("vocabulary"):
        vocabulary_scores(model, directions, vocabulary[:0])


def test_success_correlation_is_pearsons():
    generator = torch.Generator().manual_seed(0)
    latents = torch.rand(30, 4, generator=generator)
    latents[:, 3] = 1.0
    success = torch.rand(30, generator=generator) < 0.4
    latents[success, 0] += 3.0
    found = success_correlation(latents, success)
    expected = np.corrcoef(latents[:, :3].T, success)[-1, :3]
    assert np.allclose(found[:3], expected, atol=1e-6)
    assert found[0] > 0.9
    assert found[3].isnan()


@pytest.mark.parametrize("all_pass", [True, False])
def test_nothing_goes_with_success_where_all_or_no_outputs_pass(all_pass):
    assert success_correlation(torch.rand(3, 2), torch.tensor([all_pass] * 3)).isnan().all()


def test_success_correlation_wants_a_grade_for_each_sample():
    with refused("success"):
        success_correlation(torch.rand(3, 2), torch.tensor([True, False]))
