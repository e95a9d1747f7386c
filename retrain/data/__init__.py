"""An image folder: classes, samples, sets, folds, and the pixels of its pictures."""
