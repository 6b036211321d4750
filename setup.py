"""Puts the bundles, which stand beside the package, into the package that is built; all else is in pyproject.toml."""

from __future__ import annotations

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithBundles(build_py):
    """Copies what belongs to the bundles, and nothing that a run of one left there, to monai_robust/bundles/shipped."""

    def _bundle_files(self) -> dict[str, str]:
        if self.editable_mode:  # the bundles are found where they stand
            return {}
        folder = Path(self.build_lib) / "monai_robust" / "bundles" / "shipped"
        parts = [
            path
            for pattern in ("LICENSE", "configs/**/*", "docs/**/*")
            for path in Path("bundles").glob(f"*/{pattern}")
        ]
        return {str(path): str(folder / path.relative_to("bundles")) for path in sorted(parts) if path.is_file()}

    def run(self) -> None:
        super().run()
        for source, target in self._bundle_files().items():
            self.mkpath(str(Path(target).parent))
            self.copy_file(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), *self._bundle_files().values()]


setup(cmdclass={"build_py": BuildWithBundles})
