"""Video to subject: detect, matte, label, solve for the track, judge its quality."""
