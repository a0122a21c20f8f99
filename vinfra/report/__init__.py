"""Views over plans and outcomes; nothing else prints."""
