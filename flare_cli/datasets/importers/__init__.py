"""Other programs' data sets, read as they are: one module per format; `conventions.py` makes a track of it."""
