from .appended import AppendedCache
from .artifacts import CHECKPOINTS, QUANTIZED_MODEL, Artifacts, read_details
from .claims import Claims
from .fingerprint import fingerprint_of
from .flat_pictures import FlatPictures
from .folder import find_folder, folder_name, only_process, read_error, read_notes, write_error, write_owner
from .mirror import local_cache_dir
from .picture_index import PictureIndex
from .segments import Rows, Vectors, new_vectors
from .store import BottleneckCache
from .vectors import CachedVectors, LabelledBottlenecks, SomeVectors, VectorSource, chunks, fits_in_memory, load_vectors
from .writer import SegmentWriter

__all__ = [
    "CHECKPOINTS",
    "QUANTIZED_MODEL",
    "AppendedCache",
    "Artifacts",
    "BottleneckCache",
    "CachedVectors",
    "Claims",
    "FlatPictures",
    "LabelledBottlenecks",
    "PictureIndex",
    "Rows",
    "SegmentWriter",
    "SomeVectors",
    "VectorSource",
    "Vectors",
    "chunks",
    "find_folder",
    "fingerprint_of",
    "fits_in_memory",
    "folder_name",
    "load_vectors",
    "local_cache_dir",
    "new_vectors",
    "only_process",
    "read_details",
    "read_error",
    "read_notes",
    "write_error",
    "write_owner",
]
