"""Figures, latent cards, sliders, and steered answers side by side, for notebooks."""
