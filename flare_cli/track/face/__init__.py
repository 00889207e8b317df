"""Finding the face: detector, landmarks, head crop."""
