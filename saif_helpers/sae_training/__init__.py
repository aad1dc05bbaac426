"""Training of SAEs for any causal language model, on text that the model writes itself.

Three resumable steps: `texts` (the training text), `streams` (the residual stream at every token,
on disk) and `training` (SAE-Lens' trainer). `measure` evaluates the SAEs on held-out text, `recipe`
contains all hyperparameters, and ``python -m saif_helpers.sae_training`` (``make saes``) runs
everything.
"""
