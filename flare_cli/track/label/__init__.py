"""What each pixel shows: matte, segmentation, mask, overlay."""
