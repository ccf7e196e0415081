"""Training: solver files, learning rates, updates, the loop, snapshots and run folders."""
