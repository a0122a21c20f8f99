"""What host.operation and host.command share: what holds already."""
