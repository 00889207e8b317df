"""FLAME from the file that a user brings: read, closed, registered to the open head for what it lacks."""
