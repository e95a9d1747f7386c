from .augmentation import Augmentation, add_copies
from .dataset import Dataset, choose_extractor_for, extract, load_dataset, load_listed, load_unlabelled
from .pass_one import Extraction, extract_bottlenecks, open_cache, with_local_cache

__all__ = [
    "Augmentation",
    "Dataset",
    "Extraction",
    "add_copies",
    "choose_extractor_for",
    "extract",
    "extract_bottlenecks",
    "load_dataset",
    "load_listed",
    "load_unlabelled",
    "open_cache",
    "with_local_cache",
]
