"""The first steered output, with this package; see `startup` for `given`."""

import torch

import saif_helpers as saif
from saif_helpers.vectors import SteeringVector

model = saif.load("organism", given["size"])
mark("load")
vector = SteeringVector(given["layer"], torch.tensor(given["vector"]), "given")
answer = saif.generate(model, given["negative"][:1], vector, max_new_tokens=given["new_tokens"])
mark("first steered output")
