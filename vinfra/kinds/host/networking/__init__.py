"""What host.interface stands on: fields, what runs, who manages networks, a module for each."""
