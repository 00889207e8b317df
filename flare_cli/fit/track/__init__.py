"""How the head moves in the training frames: as it was tracked, or refined with the avatar."""
