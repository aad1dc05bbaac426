"""The SAEs of a model, by layer and width."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from sae_lens import SAE


def sae_layer(cfg: Mapping) -> int | None:
    """Read from an SAE's configuration the layer whose residual stream it was trained on.

    Args:
        cfg: The SAE-Lens configuration as a dictionary (``sae.cfg.to_dict()`` or ``cfg.json``).

    Returns:
        The layer after which the residual stream is read, or None if the configuration names no
        hook.

    Raises:
        ValueError: If the hook is not the residual stream after a layer.
    """
    metadata = cfg.get("metadata") or {}
    hook = metadata.get("hook_name")
    if hook is None:
        return None
    found = re.fullmatch(
        r"blocks\.(\d+)\.hook_resid_post|(?:model\.)?layers\.(\d+)(?:\.output)?", hook
    )
    if found is None:
        raise ValueError(
            f"the SAE reads {hook!r}; only the residual stream after a layer is supported, "
            "as blocks.N.hook_resid_post or model.layers.N"
        )
    return int(found[1] or found[2])


class SAECollection(Mapping):
    """The SAEs of a model by layer and width, each loaded when it is first asked for.

    ``saes[5]`` is layer 5's SAE of the width that every layer has, ``saes[5, 1024]`` the one that
    is 1,024 latents wide. Keys, as of any mapping, are the pairs of layer and width.
    """

    def __init__(
        self, loaders: Mapping[tuple[int, int], Callable[[], SAE]], most_bytes: int | None = None
    ) -> None:
        """Take what loads the SAEs.

        Args:
            loaders: A function for each layer and width that loads the SAE.
            most_bytes: How much the loaded SAEs may weigh together. Beyond it the one that was not
                used for longest is dropped, and loaded again when it is asked for. None: no limit.
        """
        self._loaders = dict(sorted(loaders.items()))
        self._loaded: dict[tuple[int, int], SAE] = {}
        self._most_bytes = most_bytes

    def widths(self, layer: int) -> list[int]:
        """List the widths (numbers of latents) of a layer's SAEs, smallest first."""
        return [width for at, width in self._loaders if at == layer]

    @property
    def layers(self) -> list[int]:
        """The layers that have an SAE, first to last."""
        return sorted({layer for layer, _ in self._loaders})

    def default_width(self, layer: int) -> int:
        """Return a layer's only width, or of several the one that most layers have.

        Raises:
            KeyError: If the layer has no SAE, or if several of its widths are equally common.
        """
        widths = self.widths(layer)
        if not widths:
            raise KeyError(f"no SAE for layer {layer}; there are SAEs for the layers {self.layers}")
        common = Counter(width for _, width in self._loaders)
        best = max(common[width] for width in widths)
        chosen = [width for width in widths if common[width] == best]
        if len(chosen) > 1:
            raise KeyError(
                f"layer {layer} has the widths {widths}; ask for one: saes[{layer}, width]"
            )
        return chosen[0]

    def __getitem__(self, key: int | tuple[int, int]) -> SAE:
        """Return the SAE of a layer, or of a layer and a width."""
        layer, width = key if isinstance(key, tuple) else (key, self.default_width(key))
        if (layer, width) not in self._loaders:
            raise KeyError(
                f"no SAE of width {width} for layer {layer}; there are "
                + ", ".join(f"saes[{at}, {wide}]" for at, wide in self._loaders)
            )
        # Taken out and put back, so that the one not used for longest stands first.
        sae = self._loaded.pop((layer, width), None)
        if sae is None:
            sae = self._loaders[layer, width]().eval()
        self._loaded[layer, width] = sae
        while self._most_bytes and self._bytes() > self._most_bytes and len(self._loaded) > 1:
            del self._loaded[next(iter(self._loaded))]
        return sae

    def __contains__(self, key: object) -> bool:
        """Say whether there is an SAE, without loading it."""
        return key in (self._loaders if isinstance(key, tuple) else self.layers)

    def _bytes(self) -> int:
        return sum(p.nbytes for sae in self._loaded.values() for p in sae.parameters())

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Go through the pairs of layer and width."""
        return iter(self._loaders)

    def __len__(self) -> int:
        """Count the SAEs."""
        return len(self._loaders)


def check_input_scale(sae: SAE) -> None:
    """Check that an SAE scales its input by itself, and that its latents are active or not.

    Args:
        sae: The SAE.

    Raises:
        ValueError: If the scale is a constant that is not folded into the SAE's weights; the SAE
            would encode the residual stream without it. If the SAE's latents can be negative.
    """
    if sae.cfg.architecture() == "abstopk":
        raise ValueError(
            "the SAE is an AbsTopK SAE, whose latents can be negative: half of what is active "
            "would count nowhere here, since a latent is active where it is above 0; give an SAE "
            "whose latents are never negative"
        )
    if sae.cfg.normalize_activations == "expected_average_only_in":
        check_decoder_units(sae)


def check_decoder_units(sae: SAE) -> None:
    """Check that an activation times a row of W_dec is in residual-stream units.

    It is when the SAE reads the residual stream as it is. Subtracting b_dec from the input
    (``apply_b_dec_to_input``) changes what is encoded, not the decoder, and is allowed.

    Args:
        sae: The SAE.

    Raises:
        ValueError: If the SAE normalises its input or rescales activations by the decoder's norm
            and this is not folded into its weights.
    """
    if sae.cfg.normalize_activations != "none":
        raise ValueError(
            f"the SAE normalises its input ({sae.cfg.normalize_activations!r}), so W_dec is not in "
            "residual-stream units; fold a constant scale into the weights first "
            "(sae.fold_activation_norm_scaling_factor); a scale that differs from token to token "
            "cannot be folded"
        )
    if sae.cfg.reshape_activations != "none":
        raise ValueError(f"the SAE reads {sae.cfg.reshape_activations!r}, not the residual stream")
    if getattr(sae.cfg, "rescale_acts_by_decoder_norm", False):
        raise ValueError(
            "the SAE rescales activations by the norm of W_dec; call sae.fold_W_dec_norm() first"
        )
