"""Write each model's requirements to `saif_helpers/data/memory.json`; run by ``make needs``."""

import json

from memory_estimate import memory_table

from saif_helpers.hub.requirements import FILE

if __name__ == "__main__":
    rows = memory_table().to_dict("records")
    FILE.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n", encoding="utf-8")
