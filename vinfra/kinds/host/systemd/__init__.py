"""What kinds know of systemd: its units, its verbs, what a unit is restarted for."""
