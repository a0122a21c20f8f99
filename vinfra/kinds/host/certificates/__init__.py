"""What kinds know of certificates: what is in a PEM, whether a key belongs to it, until when it is good."""
