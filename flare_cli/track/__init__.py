"""Video to subject: landmarks, track, matte, segmentation, preview."""
