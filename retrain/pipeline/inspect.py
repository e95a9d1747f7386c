"""`inspect`: what is in a folder of pictures."""

from retrain.data.inspection import FolderInspection
from retrain.data.inspection import inspect_folder as inspect

__all__ = ["FolderInspection", "inspect"]
