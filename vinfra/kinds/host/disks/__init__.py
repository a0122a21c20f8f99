"""What stands on block devices: reading them, and never writing over what is on them."""
