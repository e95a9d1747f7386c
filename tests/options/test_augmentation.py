import pytest

from retrain.errors import UsageError
from retrain.options import AugmentationOptions


def test_copies_and_distortions_need_each_other():
    with pytest.raises(UsageError, match=r"--augment 10 makes copies.*add a distortion, such as --flip or --rotate 10"):
        AugmentationOptions(augment=10)
    with pytest.raises(UsageError, match=r"--flip is for distorted copies, and there are none.*--augment 10"):
        AugmentationOptions(flip=True)
    with pytest.raises(UsageError, match=r"--augment-seed is for distorted copies"):
        AugmentationOptions(augment_seed=3)
    both = AugmentationOptions(augment=10, flip=True, rotate=5.0)
    assert both.distortions() == {"flip": True, "rotate": 5.0}
