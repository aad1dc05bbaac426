"""Programs that `startup` runs in separate processes and that measure their own times."""
