"""`inspect`: what is in a folder of pictures."""

from retrain.data import FolderInspection
from retrain.data import inspect_folder as inspect

__all__ = ["FolderInspection", "inspect"]
