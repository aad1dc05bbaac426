"""The model that everything runs on: nnsight's wrapper, tokenizer, SAEs, and batches.

Batches are padded on the left, made as large as the memory allows, and their results cached.
"""
