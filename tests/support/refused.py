"""Code for a process that can't import TensorFlow, or Keras."""

REFUSE_TENSORFLOW = """
import importlib.abc, json, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras"):
            raise AssertionError(f"{name} is imported")

sys.meta_path.insert(0, Refuse())
"""

# TensorFlow imports Keras at its end, and does without it; it takes as long as all of TensorFlow
WITHOUT_KERAS = "import sys; sys.modules['keras'] = None\n"
