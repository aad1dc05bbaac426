"""Speed measurements; no test depends on their results."""
