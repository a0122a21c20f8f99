"""One module a command: parse, call the engine, choose a view."""
