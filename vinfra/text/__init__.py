"""Files as text: YAML with positions, and templates."""
