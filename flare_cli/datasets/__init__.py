"""Other programs' tracked data sets, in and out, proved on the way."""
