"""How targets are reached; foreign exceptions stop here."""
