"""Two optimizations that the package does not implement, and an upper bound on their savings.

Prompts with and without the instruction share a prefix, which could be processed once. And
generation could stop as soon as the grade of an output is certain.
"""

from collections.abc import Sequence
from itertools import takewhile
from statistics import mean

import torch
from transformers import DynamicCache, PreTrainedTokenizerBase

from benchmarks.peers import plain
from benchmarks.peers.work import Found, Work, rank
from benchmarks.timing import row
from saif_helpers.graders.grader import Grader, Item
from saif_helpers.graders.text import normalise
from saif_helpers.model.tokens import order_by_length, pad, token_ids


@torch.no_grad()
def identify_sharing(work: Work, layers: Sequence[int]) -> Found:
    """Find latents as `plain.identify` does, but process the shared prefix of a pair once.

    One pass processes the prefixes of a batch of pairs; two more process the suffixes, with and
    without the instruction, from its key-value cache. There is padding between prefix and suffix,
    so results are wrong if the model's sliding window is shorter than the prompts.

    Args:
        work: Model, SAEs and prompts.
        layers: Layers, in ascending order.

    Returns:
        The residual streams and rankings.
    """
    sides, starts = shared_beginnings(work)
    order_of_rows: list[int] = []
    order = order_by_length(sides[0])
    with plain.last_tokens(work.lm, layers) as (kept, run):
        for at in range(0, len(order), work.batch_size):
            part = order[at : at + work.batch_size]
            cache = DynamicCache()
            begun = pad([sides[0][pair][: starts[pair]] for pair in part], work.tokenizer)
            run(**begun, past_key_values=cache, use_cache=True)
            for passes in kept.values():
                passes.pop()  # no prompt ends here
            offsets = torch.tensor([starts[pair] for pair in part])[:, None]
            for side, ids in enumerate(sides):
                rest = pad([ids[pair][starts[pair] :] for pair in part], work.tokenizer)
                rest["position_ids"] += offsets
                masks = [begun["attention_mask"], rest["attention_mask"]]
                run(**rest | {"attention_mask": torch.cat(masks, 1)}, past_key_values=cache)
                cache.crop(-rest["input_ids"].shape[1])
                order_of_rows += [pair + side * len(order) for pair in part]
    return rank(work.saes, plain.in_order(kept, order_of_rows))


def shared_beginnings(work: Work) -> tuple[list[list[list[int]]], list[int]]:
    """Tokenize pairs and find the length of the shared prefix of each.

    Args:
        work: The pairs.

    Returns:
        Token ids of the prompts with and without the instruction, and for each pair the length of
        its shared prefix in tokens, which is shorter than either prompt.
    """
    sides = [token_ids(prompts, work.tokenizer) for prompts in (work.positive, work.negative)]
    # The last token of the shorter prompt is never shared, because it is the read-out position.
    pairs = [zip(one[:-1], two[:-1], strict=False) for one, two in zip(*sides, strict=True)]
    return sides, [sum(1 for _ in takewhile(lambda ids: ids[0] == ids[1], two)) for two in pairs]


def tokens_left(work: Work) -> float:
    """Return the share of tokens that remain to be processed if prefixes are shared.

    Args:
        work: The pairs.

    Returns:
        The share.
    """
    sides, starts = shared_beginnings(work)
    return 1 - sum(starts) / sum(len(ids) for ids in sides[0] + sides[1])


def certain_rows(
    outputs: Sequence[str],
    items: Sequence[Item],
    grader: Grader,
    tokenizer: PreTrainedTokenizerBase,
) -> list[dict]:
    """Count the tokens of outputs, and those generated before their grades are certain.

    The strict grade is certain once the output is not a prefix of its reference. The last change of
    the loose grade is known only afterwards, so stopping there is an upper bound on the savings.

    Args:
        outputs: Complete outputs.
        items: What each is graded against, with references.
        grader: The grader; an output passes strictly if it equals the reference.
        tokenizer: Tokenizer of the outputs.

    Returns:
        Rows of part c: the mean number of tokens per output.
    """
    counts: dict[str, list[int]] = {}
    to_the_end = counts["saif_helpers: to the end"] = []
    strict = counts["cut off where its strict grade is certain"] = []
    both = counts["cut off after the last change of either grade, known only afterwards"] = []
    for output, item in zip(outputs, items, strict=True):
        ids = tokenizer(output, add_special_tokens=False)["input_ids"]
        begun = [tokenizer.decode(ids[:n]) for n in range(len(ids) + 1)]
        grades = [(grader.strict(text, item), grader.loose(text, item)) for text in begun]
        reference = normalise(item.reference or "")
        left = [not reference.startswith(normalise(text)) for text in begun]
        changes = [n for n in range(1, len(grades)) if grades[n] != grades[n - 1]]
        whole = len(ids) + 1  # including the end token
        to_the_end.append(whole)
        strict.append(left.index(True) if True in left else whole)
        both.append(max(changes, default=0))
    work = "tokens that an output takes"
    return [row("c", work, way, "tokens", [mean(each)]) for way, each in counts.items()]
