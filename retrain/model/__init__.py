"""A trained model: the head, the model folder, and the classifier that reads it."""
