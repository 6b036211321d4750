"""A bundle's configuration as users set it: which ids there are, and what the words of a command line mean."""

from __future__ import annotations

from monai_robust.configuration.command_line import check_command_line, command_line_files, shown
from monai_robust.configuration.ids import check_ids, has_id, read_configuration, read_words
from monai_robust.configuration.values import Kind, read_word

__all__ = [
    "Kind",
    "check_command_line",
    "check_ids",
    "command_line_files",
    "has_id",
    "read_configuration",
    "read_word",
    "read_words",
    "shown",
]
