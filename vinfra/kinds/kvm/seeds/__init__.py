"""What cloud-init reads."""
