"""What lies in pools, and what a host does about it itself."""
