"""Where secrets come from, one module a scheme: `fetch` reads what is at a place, a text or a tree of keys."""
