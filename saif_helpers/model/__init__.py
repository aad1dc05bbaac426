"""The model that everything runs on: nnsight's wrapper, tokenizer, SAEs, and batches.

Batches are padded on the left and as large as memory allows; their results are cached.
"""
