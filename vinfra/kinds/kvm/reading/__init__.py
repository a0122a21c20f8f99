"""What a host's libvirt has, whose it is and who uses it."""
