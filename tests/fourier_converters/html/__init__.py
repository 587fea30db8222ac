"""Pages that show an adapter."""
