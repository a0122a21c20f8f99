"""What a restart of a host is about: why one is due, and the machines that it takes down."""
