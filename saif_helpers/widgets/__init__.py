"""Controls for a running kernel: steer a sentence of your own, and see what each of them does."""
