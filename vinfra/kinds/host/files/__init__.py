"""What kinds know of files: what is there, whose it is, what is in it."""
