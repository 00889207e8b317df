"""Other programs' data sets, read as they are: one module per format; `placing.py` makes a track of what they read."""
