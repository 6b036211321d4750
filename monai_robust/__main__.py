"""``python -m monai_robust``."""

from __future__ import annotations

from monai_robust.commands.app import main

if __name__ == "__main__":
    main()
