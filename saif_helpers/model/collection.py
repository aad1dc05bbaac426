"""The SAEs of a model by layer and width, loaded on first access."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from torch.nn import Module

from saif_helpers.model.saes import SAE, n_bytes


class SAECollection(Mapping):
    """The SAEs of a model by layer and width, loaded on first access.

    ``saes[5]`` is layer 5's SAE of the default width, ``saes[5, 1024]`` the one with 1,024 latents.
    The keys of the mapping are pairs of layer and width.
    """

    def __init__(
        self, loaders: Mapping[tuple[int, int], Callable[[], SAE]], most_bytes: int | None = None
    ) -> None:
        """Create the collection from loaders.

        Args:
            loaders: Layer and width to a function that loads the SAE.
            most_bytes: Maximum total size of the loaded SAEs. Beyond it the least recently used one
                is dropped, and loaded again on its next access. None for no limit.
        """
        self._loaders = dict(sorted(loaders.items()))
        self._loaded: dict[tuple[int, int], SAE] = {}
        self._most_bytes = most_bytes

    def widths(self, layer: int) -> list[int]:
        """Return the widths (numbers of latents) of a layer's SAEs, smallest first."""
        return [width for at, width in self._loaders if at == layer]

    @property
    def layers(self) -> list[int]:
        """The layers that have an SAE, first to last."""
        return sorted({layer for layer, _ in self._loaders})

    def default_width(self, layer: int) -> int:
        """Return a layer's only width, or of several the most common among all layers.

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
                f"layer {layer} has the widths {widths}; choose one: saes[{layer}, width]"
            )
        return chosen[0]

    def __getitem__(self, key: int | tuple[int, int]) -> SAE:
        """Return the SAE of a layer, or of a layer and a width."""
        parts = key if isinstance(key, tuple) else (key,)
        if len(parts) > 2 or any(isinstance(one, bool) for one in parts):
            raise KeyError(
                f"saes[{key!r}] is not a valid key; give a layer, or a layer and a width"
            )
        layer, width = parts if len(parts) == 2 else (key, self.default_width(key))
        if (layer, width) not in self._loaders:
            raise KeyError(
                f"no SAE of width {width} for layer {layer}; there are "
                + ", ".join(f"saes[{at}, {wide}]" for at, wide in self._loaders)
            )
        # Reinserted, so that the least recently used one comes first.
        sae = self._loaded.pop((layer, width), None)
        if sae is None:
            sae = self._loaders[layer, width]()
            sae = sae.eval() if isinstance(sae, Module) else sae
        self._loaded[layer, width] = sae
        while self._most_bytes and self._bytes() > self._most_bytes and len(self._loaded) > 1:
            del self._loaded[next(iter(self._loaded))]
        return sae

    def __contains__(self, key: object) -> bool:
        """Return whether there is an SAE, without loading it."""
        return key in (self._loaders if isinstance(key, tuple) else self.layers)

    def _bytes(self) -> int:
        return sum(map(n_bytes, self._loaded.values()))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Iterate over the pairs of layer and width."""
        return iter(self._loaders)

    def __len__(self) -> int:
        """Count the SAEs."""
        return len(self._loaders)
