"""The first ranking, with this package; see `startup` for `given`."""

import saif_helpers as saif

model = saif.load("organism", given["size"])
mark("load")
instruction = saif.load_instructions()["french"]
contents = saif.load_contents("identification")[: given["pairs"]]
pairs = saif.make_pairs(instruction, contents, model.tokenizer, seed=0)
ranking = saif.rank_layers(model, pairs, [given["layer"]])[given["layer"]]
mark("first ranking")
answer = ranking.order[: given["shown"]].tolist()
