"""What each pixel shows: matte, labels, mask, overlay."""
