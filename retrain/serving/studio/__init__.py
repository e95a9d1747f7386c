"""The studio: a local page on a folder of pictures, and the server behind it."""
