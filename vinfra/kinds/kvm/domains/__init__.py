"""What a virtual machine is made of: its fields, its XML, and what of it changes while it runs."""
