"""Programs that `startup` runs, each in a process of its own, and times from within."""
