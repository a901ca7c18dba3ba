"""The build hook of the wheel: compiles the hot path with mypyc where there is a C compiler.

The modules are listed in pyproject.toml. They are typed Python that runs as it is, so compiling is
a choice of the build and not of the code: a wheel holds the same sources either way, and beside
them the extensions, which Python prefers. Without a C compiler or Python's headers, with
`DISPATCHER_PURE=1`, and in an editable install there are the sources only. The modules of function
calls are compiled too with `DISPATCHER_COMPILED=1`, as for the image: they take two fifths of the
time.

The compiler takes most of the time of a build. So each module becomes a C file of its own, these
are compiled side by side, and the header that all of them share, a fifth of that time, once.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir, suppress
from glob import glob
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_GENERATED = "__native_dispatcher"
_INTERNAL = "__native_internal_dispatcher.h"
"""How mypyc names the C files of the group `dispatcher`, and the header of what they share."""


class CompileHook(BuildHookInterface):
    """Adds extension modules to a wheel."""

    def dependencies(self) -> list[str]:
        """What a build needs besides hatchling; pip installs it before `initialize`."""
        return list(self.config["requires"]) if _can_compile() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and name what was made to the builder.

        Args:
            version: `standard` or `editable`.
            build_data: what is added to the wheel: see hatchling's documentation.

        Raises:
            RuntimeError: the compiler failed.
        """
        if self.target_name != "wheel" or version != "standard" or not _can_compile():
            return
        self._directory = tempfile.TemporaryDirectory(prefix="dispatcher-build-")
        directory = Path(self._directory.name)
        try:
            made = _compile(Path(self.root), directory, _paths(_patterns(self.config), self.root))
        except Exception as error:
            raise RuntimeError(
                f"compiling failed ({error}); DISPATCHER_PURE=1 builds without compiling"
            ) from error
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["force_include"].update({str(path): name for path, name in made.items()})

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what the wheel holds now."""
        if hasattr(self, "_directory"):
            self._directory.cleanup()


def _can_compile() -> bool:
    """Whether there is a C compiler with Python's headers, and nobody said not to use it."""
    if _is_asked_for("DISPATCHER_PURE"):
        return False
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    return shutil.which(compiler) is not None and headers.exists()


def _is_asked_for(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in {"1", "t", "true", "yes", "on"}


def _patterns(config: dict[str, Any]) -> list[str]:
    """The modules that are compiled."""
    of_calls = config["modules-of-calls"] if _is_asked_for("DISPATCHER_COMPILED") else []
    return [*config["modules"], *of_calls]


def _paths(patterns: list[str], root: str) -> list[str]:
    """Paths of modules from `root`, for patterns in which `{a,b}` stands for several names.

    Raises:
        ValueError: a pattern names nothing.
    """
    paths: list[str] = []
    for pattern in patterns:
        before, _, rest = pattern.partition("{")
        names, _, after = rest.partition("}")
        for name in names.split(","):
            found = sorted(glob(before + name + after, root_dir=root))
            if not found:
                raise ValueError(f"no module at {before}{name}{after}")
            paths += [path for path in found if not path.endswith("__init__.py")]
    return paths


def _is_generated(source: str) -> bool:
    """Whether a C file is a module's, and not of mypyc's own library."""
    return Path(source).name.startswith(_GENERATED)


def _compile(root: Path, directory: Path, modules: list[str]) -> dict[Path, str]:
    """Compile modules (paths from `root`) in `directory`; returns where each extension is and the
    path it has in a wheel."""
    from mypyc.build import mypycify
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext
    from setuptools.errors import CompileError, ExecError

    processors = len(os.sched_getaffinity(0))

    class SideBySide(build_ext):
        """Compiles files at the same time instead of one after the other: the extension that has
        all the code, the longest files first, and beside it those that only name a module of it.
        What they include is compiled once."""

        def build_extensions(self) -> None:
            self.parallel = processors
            compile_in_turn = self.compiler.compile
            (everything,) = (one for one in self.extensions if len(one.sources) > 1)
            postargs = self._precompile(everything)

            def compile_all(sources: list[str], **options: Any) -> list[str]:
                with_header = options | {"extra_postargs": postargs}

                def compile_one(source: str) -> list[str]:
                    is_runtime = source in everything.sources and not _is_generated(source)
                    return compile_in_turn([source], **(options if is_runtime else with_header))

                with ThreadPoolExecutor(processors) as pool:
                    objects = pool.map(compile_one, sorted(sources, key=os.path.getsize)[::-1])
                    return [made for one in objects for made in one]

            self.compiler.compile = compile_all
            super().build_extensions()

        def _precompile(self, extension: Extension) -> list[str]:
            """Compile the header of all modules; returns the arguments with which it is used."""
            header = Path("build", "precompiled.h")
            header.write_text(f'#include "{_GENERATED}.h"\n#include "{_INTERNAL}"\n')
            included = (*extension.include_dirs, *self.compiler.include_dirs)
            places = [f"-I{place}" for place in included]
            postargs = list(extension.extra_compile_args or [])
            made = ["-x", "c-header", str(header), "-o", f"{header}.gch"]
            # A compiler that can't do that, or takes none that others made, includes the text.
            with suppress(CompileError, ExecError):
                self.compiler.spawn([*self.compiler.compiler_so, *places, *made, *postargs])
            return ["-include", str(header), *postargs]

    shutil.copytree(
        root / "dispatcher", directory / "dispatcher", ignore=shutil.ignore_patterns("__pycache__")
    )
    with chdir(directory):
        extensions = mypycify(
            ["--config-file=", "--ignore-missing-imports", *modules],
            opt_level="1",  # 39 s to build instead of 48, and messages cost the same
            debug_level="0",
            multi_file=True,
            group_name="dispatcher",
        )
        command = SideBySide(Distribution({"name": "dispatcher", "ext_modules": extensions}))
        command.inplace = True
        command.ensure_finalized()
        command.run()
    built = [*directory.glob("*.so"), *(directory / "dispatcher").rglob("*.so")]
    return {path: str(path.relative_to(directory)) for path in built}
