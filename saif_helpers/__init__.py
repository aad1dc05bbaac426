"""Helpers of the SAIF book: one module per step of the method, the rest in sub-packages.

Data flows one way: an instruction (`instructions`) and sentences (`contents`) become prompt pairs
(`prompts`), whose residual stream is captured (`activations`) and encoded (`latents`); latents are
ranked (`ranking`) and summed into a steering vector (`vectors`, `vector_rules`, `random_controls`),
which is added at some positions (`placements`) while the model generates (`steering`); the outputs
are graded (`grading`) and compared (`intervals`, `comparison`).

The public names are listed in ``__init__.pyi`` and imported on first use.
"""

import lazy_loader

from saif_helpers._internal.versions import warn_if_unsupported

__version__ = "0.1.0"

_public, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    """Import a public name on first access."""
    if name not in __all__:
        raise AttributeError(f"saif_helpers has no name {name!r}; it has {', '.join(__all__)}")
    return _public(name)


warn_if_unsupported()
