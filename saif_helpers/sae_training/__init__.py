"""SAEs for any causal language model: it writes its own text, is read, and its SAEs are trained.

Three stations, each of which can be stopped and continues where it was: `texts` (what the model
reads), `streams` (its residual stream at every token, on disk) and `training` (SAE-Lens' trainer).
`measure` says how good the SAEs are on text that they were not trained on, `recipe` holds all
choices, and ``python -m saif_helpers.sae_training`` (``make saes``) runs everything.
"""
