"""What makes a host a hypervisor."""
