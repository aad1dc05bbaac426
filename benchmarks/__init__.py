"""Speed measurements; no test depends on them."""
