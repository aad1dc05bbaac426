"""Published SAEs for the models of `zoo`, as listed by SAE-Lens.

A test fails if SAE-Lens renames a release.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

from saif_helpers._internal.errors import ArgumentError

Layers = Literal["final", "spread", "all"] | int | Sequence[int] | None
WIDTHS = {
    label: 1024 * factor
    for label, factor in {
        "4k": 4, "16k": 16, "32k": 32, "65k": 64, "131k": 128, "262k": 256, "524k": 512, "1m": 1024
    }.items()
}  # fmt: skip
"""Gemma Scope's labels of widths to the number of latents."""

SPREAD = 8  # number of layers that "spread" selects, at most
USUAL_L0 = 100  # among several Gemma Scope SAEs, the one with the closest L0 is chosen
_IDS = (
    re.compile(r"layer_(?P<layer>\d+)/width_(?P<width>\w+)/average_l0_(?P<l0>\d+)"),
    re.compile(r"layer_(?P<layer>\d+)_width_(?P<width>\d+[km])_l0_(?P<sparsity>small|medium|big)"),
    re.compile(r"l(?P<layer>\d+)r_(?P<times>\d+)x"),
)
_LLAMA_D_MODEL = 4096  # Llama Scope's ids give the width as a multiple of this


@dataclass(frozen=True)
class PretrainedSAE:
    """Location of a published SAE.

    Attributes:
        release: The release's name in SAE-Lens' list.
        sae_id: The SAE's id in that release.
        repo_id: The Hugging Face repository of its files.
        path: Its folder there, which an id such as "canonical" refers to.
        layer: The layer after which it reads the residual stream.
        d_sae: Number of latents.
    """

    release: str
    sae_id: str
    repo_id: str
    path: str
    layer: int
    d_sae: int

    def __str__(self) -> str:
        """Return repository and path."""
        return f"{self.repo_id}/{self.path}"


def pretrained_saes(releases: Sequence[str]) -> dict[tuple[int, int], PretrainedSAE]:
    """List the SAEs of releases that read the residual stream after a layer.

    If a release has several of one layer and width, the one with the L0 closest to `USUAL_L0`
    (Gemma Scope) or the sparsest (Gemma Scope 2) is chosen.

    Args:
        releases: Names of releases in SAE-Lens' list.

    Returns:
        Layer and width (number of latents) to SAE.

    Raises:
        ValueError: If SAE-Lens does not list a release, or no ids can be parsed.
    """
    listed = get_pretrained_saes_directory()
    best: dict[tuple[int, int], tuple[int, PretrainedSAE]] = {}
    for release in releases:
        if release not in listed:
            raise ArgumentError(
                f"release {release!r} given, which the installed SAE-Lens does not list; see "
                "its documentation for the list",
                "release",
            )
        for sae_id, path in listed[release].saes_map.items():
            read = _read_id(path if sae_id.endswith("/canonical") else sae_id)
            if read is None:
                continue
            layer, d_sae, distance = read
            sae = PretrainedSAE(release, sae_id, listed[release].repo_id, path, layer, d_sae)
            if (layer, d_sae) not in best or distance < best[layer, d_sae][0]:
                best[layer, d_sae] = (distance, sae)
    if not best:
        raise ArgumentError(
            f"the ids of {', '.join(releases)} do not have a known format with layer and width; "
            "give the SAEs explicitly: saes={layer: (release, sae_id)}",
            "release",
        )
    return {key: sae for key, (_, sae) in sorted(best.items())}


def resolved(release: str, sae_id: str) -> str:
    """Return the files of an SAE in SAE-Lens' list, resolving ids such as "canonical".

    Args:
        release: Name of the release.
        sae_id: The SAE's id there.

    Returns:
        Repository and folder; release and id if SAE-Lens does not list them.
    """
    listed = get_pretrained_saes_directory().get(release)
    if listed is None or sae_id not in listed.saes_map:
        return f"{release}/{sae_id}"
    return f"{listed.repo_id}/{listed.saes_map[sae_id]}"


def last_layer_saes(releases: Sequence[str]) -> dict[int, PretrainedSAE]:
    """List the SAEs of releases that read the residual stream after the last layer.

    Args:
        releases: Names of releases in SAE-Lens' list with SAEs of every layer.

    Returns:
        Width (number of latents) to SAE, smallest first.

    Raises:
        ValueError: As `pretrained_saes`.
    """
    saes = pretrained_saes(releases)
    last = max(layer for layer, _ in saes)
    return {width: sae for (layer, width), sae in saes.items() if layer == last}


def _read_id(sae_id: str) -> tuple[int, int, int] | None:
    """Return layer, number of latents and distance from the preferred SAE."""
    for pattern in _IDS:
        found = pattern.fullmatch(sae_id)
        if found is None:
            continue
        parts = found.groupdict()
        if "times" in parts:
            return int(parts["layer"]), int(parts["times"]) * _LLAMA_D_MODEL, 0
        if "l0" in parts:
            distance = abs(int(parts["l0"]) - USUAL_L0)
        else:
            distance = ("small", "medium", "big").index(parts["sparsity"])
        return int(parts["layer"]), WIDTHS[parts["width"]], distance
    return None


def choose_layers(layers: Layers, n_layers: int, name: str) -> list[int]:
    """Resolve a choice of layers to a list.

    Args:
        layers: ``"final"``, ``"all"``, ``"spread"`` (up to eight layers, evenly spaced, including
            the last), or one or more layers; -1 is the last.
        n_layers: Number of layers of the model.
        name: The model's name, for messages.

    Returns:
        The layers, sorted and without duplicates.

    Raises:
        ValueError: If a layer does not exist or the name is unknown.
    """
    if isinstance(layers, int):
        layers = [layers]
    if layers == "all" or (layers == "spread" and n_layers <= SPREAD):
        return list(range(n_layers))
    if layers == "spread":
        return [round((step + 1) * n_layers / SPREAD) - 1 for step in range(SPREAD)]
    if layers == "final":
        return [n_layers - 1]
    listed = [] if isinstance(layers, str) else list(layers or [])
    if not listed or not all(isinstance(at, int) and not isinstance(at, bool) for at in listed):
        raise ArgumentError(
            f"layers={layers!r} given; give 'final', 'spread', 'all' or integers", "layers"
        )
    layers = listed
    wrong = [layer for layer in layers if not -n_layers <= layer < n_layers]
    if wrong:
        raise ArgumentError(f"layer {wrong[0]} given; {name} has layers 0-{n_layers - 1}", "layers")
    return sorted({layer % n_layers for layer in layers})


def width_of(label: str | int) -> int:
    """Return the number of latents of a label such as ``"65k"``.

    Args:
        label: A label of `WIDTHS`, or the number itself, also as a string.

    Returns:
        The number of latents.

    Raises:
        ValueError: If the label is unknown.
    """
    if isinstance(label, int) or label.isdecimal():
        return int(label)
    if label not in WIDTHS:
        raise ArgumentError(
            f"width {label!r} given; give a number of latents or one of {', '.join(WIDTHS)}",
            "width",
        )
    return WIDTHS[label]
