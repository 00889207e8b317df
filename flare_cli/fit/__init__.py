"""Subject to avatar: losses, stages as data, loop, checkpoints."""
