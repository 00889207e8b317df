"""What goes on where a recording showed nothing: colours and offsets over the surface, hair, caps, ears."""
