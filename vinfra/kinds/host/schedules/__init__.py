"""What kinds know of schedules: cron's lines, systemd's timers."""
