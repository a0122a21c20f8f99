"""What vinfra manages: one module a kind, one folder a family."""
