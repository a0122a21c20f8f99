"""What kinds know of sshd: its options, its files, what it really does."""
