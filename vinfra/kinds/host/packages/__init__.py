"""What kinds know of packages: what is installed, what an installation would do."""
