"""What a fit finds of the training frames beside the avatar: residuals of the track, exposure."""
