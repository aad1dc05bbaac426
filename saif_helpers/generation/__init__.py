"""How the model is run with interventions: what each prompt of a batch gets, pass by pass.

`steering.generate` is the way in. `interventions` works out what is added for each prompt, after
which layers and at which positions; `decoding` generates from one batch through nnsight.
"""
