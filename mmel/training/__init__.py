"""Training: run folders, checkpoints and the loop."""
