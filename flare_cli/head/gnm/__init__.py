"""Google's GNM head: a user's own file of it as a head model."""
