"""Training tasks, one per file: batches and a loss for `pasand.training.loop`."""
