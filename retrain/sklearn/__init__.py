"""retrain in scikit-learn: a transformer from pictures to vectors, and a classifier of vectors.

    make_pipeline(BottleneckTransformer("efficientnet_lite0"), RetrainClassifier(optimizer="lbfgs"))

Needs scikit-learn (`pip install 'retrain[sklearn]'`).
"""

from retrain.errors import MissingPackageError
from retrain.text import first_line

try:
    from retrain.sklearn.classifier import RetrainClassifier
    from retrain.sklearn.transformer import BottleneckTransformer
except ImportError as error:
    raise MissingPackageError(
        f"retrain.sklearn needs scikit-learn 1.6 or later ({first_line(error)}): pip install 'retrain[sklearn]'"
    ) from error

__all__ = ["BottleneckTransformer", "RetrainClassifier"]
