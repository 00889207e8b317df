"""People that are rendered, with the truth beside the recording."""
