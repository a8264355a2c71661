"""Tools for who builds on Tollway, or on it with us. Nothing here is used by a serving process."""
