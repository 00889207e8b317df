"""What a recording lacks, told before the fit: measured, judged, and with advice how to record again."""
