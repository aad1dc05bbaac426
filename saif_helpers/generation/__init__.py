"""Generation with interventions, batch by batch.

The entry point is `steering.generate`. `interventions` computes what is added for each prompt,
after which layers and at which positions; `decoding` generates from one batch through nnsight.
"""
