from .decoding import DECODER_VERSION, DEPTHS, MARGIN, decode_image, is_one_colour, read_header
from .distortions import DISTORTIONS_VERSION, Distorter, Distortion, draw_distortion
from .edits.edit_journal import Edit
from .edits.folder_edits import FolderEdits
from .folder_walk import is_litter, picture_files
from .folder_watch import FolderWatch
from .folds import assign_folds, most_folds, stable_folds
from .image_folder import read_image_folder
from .inspection import FolderInspection, inspect_folder
from .label_sets import check_separable, label_sets_of, united
from .labelled_pictures import SEPARATOR, STRANGERS, LabelledPictures, ManifestFile, Sample
from .labels import ClassNames, class_labels, expected_labels
from .left_out import LeftOut, summarize_left_out
from .picture_file import Signature, hash_picture, picture_bytes, read_picture, signature_of, signed_bytes, what_else
from .picture_form import BACKGROUND, PictureForm, shown_form, unusual
from .picture_list import list_pictures
from .remote_files import RemoteFile, copies_folder, is_url, list_remote, read_remote, tried, url_of, with_file_system
from .source import read_source
from .split import FEWEST_PICTURES, SETS, assign_sets, check_class_sizes, check_counts, check_groups
from .unlabelled import read_unlabelled

__all__ = [
    "BACKGROUND",
    "DECODER_VERSION",
    "DEPTHS",
    "DISTORTIONS_VERSION",
    "FEWEST_PICTURES",
    "MARGIN",
    "SEPARATOR",
    "SETS",
    "STRANGERS",
    "ClassNames",
    "Distorter",
    "Distortion",
    "Edit",
    "FolderEdits",
    "FolderInspection",
    "FolderWatch",
    "LabelledPictures",
    "LeftOut",
    "ManifestFile",
    "PictureForm",
    "RemoteFile",
    "Sample",
    "Signature",
    "assign_folds",
    "assign_sets",
    "check_class_sizes",
    "check_counts",
    "check_groups",
    "check_separable",
    "class_labels",
    "copies_folder",
    "decode_image",
    "draw_distortion",
    "expected_labels",
    "hash_picture",
    "inspect_folder",
    "is_litter",
    "is_one_colour",
    "is_url",
    "label_sets_of",
    "list_pictures",
    "list_remote",
    "most_folds",
    "picture_bytes",
    "picture_files",
    "read_header",
    "read_image_folder",
    "read_picture",
    "read_remote",
    "read_source",
    "read_unlabelled",
    "shown_form",
    "signature_of",
    "signed_bytes",
    "stable_folds",
    "summarize_left_out",
    "tried",
    "united",
    "unusual",
    "url_of",
    "what_else",
    "with_file_system",
]
