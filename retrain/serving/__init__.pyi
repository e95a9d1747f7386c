from .server import Server
from .studio.parts import StudioParts, WorthALabel
from .studio.pictures import FolderContent, read_folder
from .studio.server import StudioServer

__all__ = ["FolderContent", "Server", "StudioParts", "StudioServer", "WorthALabel", "read_folder"]
