"""Checks of activations of prompt pairs, which must cover both samples of each pair."""

from collections.abc import Mapping

from jaxtyping import Float, Int
from torch import Tensor, arange, float32, promote_types

from saif_helpers._internal.arguments import check_same_lengths, whole_number
from saif_helpers._internal.errors import ArgumentError
from saif_helpers._internal.tensors import as_tensor


def check_pair_latents(positive: Tensor, negative: Tensor, asker: str) -> None:
    """Raise unless these are the latents of both samples of each pair.

    Args:
        positive: Latents of the positive samples.
        negative: Latents of the negative samples.
        asker: The function that needs them, for the message.

    Raises:
        ValueError: If there are no pairs, the shapes differ, or an activation is negative or not
            finite.
    """
    if len(positive) == 0:
        raise ArgumentError(f"{asker} was given no pairs; give at least one", "positive")
    if positive.shape != negative.shape:
        raise ArgumentError(
            f"{len(positive)} positive and {len(negative)} negative samples with "
            f"{positive.shape[-1]} and {negative.shape[-1]} latents given; give the latents of "
            "both samples of each pair",
            "negative",
        )
    for latents in () if positive.is_meta else (positive, negative):  # no values on the meta device
        lowest, highest = latents.aminmax()
        if not lowest >= 0 or not highest.isfinite():  # NaN fails every comparison
            raise ArgumentError(
                f"the latents have activations from {lowest:g} to {highest:g}; those of a "
                "latent are finite and never negative: give the result of `encode`, not the "
                "residual stream",
                "latents",
            )


def streams_at(
    positive: Mapping[int, Float[Tensor, "pairs d_model"]],
    negative: Mapping[int, Float[Tensor, "other_pairs d_model"]],
    layer: int,
) -> tuple[Float[Tensor, "pairs d_model"], Float[Tensor, "other_pairs d_model"]]:
    """Return the residual stream of one layer with and without the instruction.

    Args:
        positive: Layer to residual stream with the instruction, from `capture_pairs`.
        negative: The same without it.
        layer: The layer.

    Returns:
        Both, at least two rows each, in float32 or higher precision.

    Raises:
        ValueError: If the layer was not captured, or there are fewer than two samples of each kind.
    """
    for given in (positive, negative):
        if not isinstance(given, Mapping) or layer not in given:
            there = list(given) if isinstance(given, Mapping) else f"a {type(given).__name__}"
            raise ArgumentError(
                f"the difference in means needs layer {layer}, but residual stream of {there} was "
                f"given; give both halves of what capture_pairs(model, pairs, [{layer}]) returns",
                "layer",
            )
    found = [as_tensor("residual stream", given[layer]) for given in (positive, negative)]
    shapes = [tuple(stream.shape) for stream in found]
    floating = all(stream.is_floating_point() for stream in found)
    if {*map(len, shapes)} != {2} or shapes[0][1] != shapes[1][1] or not floating:
        raise ArgumentError(
            f"residual streams of shapes {shapes[0]} and {shapes[1]} and {found[0].dtype} given; "
            "give a row for each sample, of one model, in floating-point numbers",
            "residual stream",
        )
    if min(map(len, found)) < 2:
        raise ArgumentError(
            f"{len(found[0])} positive and {len(found[1])} negative samples given; give at least "
            "two of each",
            "pairs",
        )
    fine = promote_types(found[0].dtype, float32)  # 16-bit means would be imprecise
    return found[0].to(fine), found[1].to(fine)


def check_halves(positive: Mapping[int, Tensor], negative: Mapping[int, Tensor]) -> None:
    """Raise unless both residual streams cover the same layers.

    Args:
        positive: Layer to residual stream with the instruction.
        negative: The same without it.

    Raises:
        ValueError: If there are no layers, or only one of them has a layer.
    """
    if positive.keys() != negative.keys() or not positive:
        raise ArgumentError(
            f"residual stream of the layers {list(positive)} with the instruction and of "
            f"{list(negative)} without it given; give both halves of what capture_pairs returns",
            "negative",
        )


def check_ranking(
    numbers: Mapping[str, Tensor], order: Int[Tensor, "d_sae"], layer: int | None
) -> None:
    """Raise if a ranking's statistics differ in length, or its order is not a permutation.

    Args:
        numbers: Name to a statistic of each latent.
        order: Latent indices.
        layer: The layer, if it is known.

    Raises:
        ValueError: If the lengths differ, an index is missing, or the layer is negative.
    """
    check_same_lengths(order=order, **numbers)
    ids = arange(len(order), device=order.device)
    if not order.is_meta and not order.sort().values.equal(ids):
        raise ArgumentError(
            "the order leaves out latents or repeats them; give each id once", "order"
        )
    whole_number("layer", layer or 0, least=0)
