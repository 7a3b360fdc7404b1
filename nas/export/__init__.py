"""Exported networks: a folder that is read, run and judged without the study it came from."""

from nas.export.folder import ExportError, evaluate_folder, export, load

__all__ = ["ExportError", "evaluate_folder", "export", "load"]
