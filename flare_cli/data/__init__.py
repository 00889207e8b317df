"""Files to typed values and back: video, images, HDR, avatar file, glTF, OBJ. Knows nothing of heads."""
