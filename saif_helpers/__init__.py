"""Helpers of the SAIF book: the method's steps here, one file each, the rest in sub-packages.

Data flows one way: an instruction (`instructions`) and sentences (`contents`) become prompt pairs
(`prompts`), whose residual stream is captured (`activations`) and encoded (`latents`, checked by
`reconstruction`); latents are ranked (`ranking`) and summed to a steering vector (`vectors`,
`vector_rules`, `random_controls`), which is added to the model (`interventions`) while it generates
(`decoding`, `steering`); the outputs are graded (`grading`, `intervals`, `comparison`).

The public names are listed in ``__init__.pyi`` and imported on first use, so that ``import
saif_helpers`` stays light.
"""

import lazy_loader

from saif_helpers._internal.versions import warn_if_unsupported

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

warn_if_unsupported()
