"""`flare batch`: many recordings through preprocess, fit, eval and export."""
