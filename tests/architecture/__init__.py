"""Rules on the code as a whole."""
