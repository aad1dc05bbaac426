"""Analyses beyond the paper's steps: what latents react to, promote, and change in the output."""
