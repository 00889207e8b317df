"""One recorded person: frames, masks, labels, tracks; the folder that holds them."""
