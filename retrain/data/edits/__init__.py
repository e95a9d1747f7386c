"""Changes of an image folder, which lose nothing and can be taken back."""
