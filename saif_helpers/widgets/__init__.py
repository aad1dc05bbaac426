"""Interactive controls for steering any sentence, which need a running kernel."""
