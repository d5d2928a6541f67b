"""The labels of a round of ``improve``: by a potential, or by a command that may take days."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml
from ase import Atoms

from ..campaign.labels import UNLABELLED
from ..campaign.store import read_runs
from ..errors import UserError
from ..md.labels import hash_of
from ..md.record import read_extxyz
from ..processes import CommandError, pasteable, script
from .improve_file import Plan, has_labels

Run = Callable[[Sequence[str], Path], None]


class WaitingError(UserError):
    """Report labels that are not complete yet; the next call goes on."""


def label(plan: Plan, folder: Path, say: Callable[[str], None], run: Run) -> None:
    """Let the frames of a round get their labels.

    Args:
        plan: of the improvement.
        folder: of the round.
        say: receives the command and what came of it.
        run: runs a command into a log.

    Raises:
        WaitingError: labels are missing still.
    """
    frames, labelled = folder / "to_label.xyz", folder / "labelled.xyz"
    wanted, have = len(list(read_extxyz(frames))), len(labelled_frames(labelled))
    if have >= wanted:  # a command may have come back since the last call
        return
    rest = f"or remove frames from {frames} that cannot be labelled"
    submitted = folder / "label.submitted"
    if submitted.is_file():
        raise WaitingError(
            f"{labelled}: {have} of {wanted} frames have labels, and their jobs are submitted. "
            "Start the same command again when the file is complete; remove "
            f"{submitted} to submit once more; {rest}"
        )
    if plan.command:
        words = shlex.split(plan.command)
        command = [w.format(frames=frames, labelled=labelled) for w in words]
    else:
        entry = yaml.safe_dump(plan.potential, default_flow_style=True, width=1e6).strip()
        command = ["nequip-decorr", "label", str(frames), "--with", entry]
        command += ["--out", str(labelled)]
    for _ in range(2):
        say(f"$ {pasteable(command)}   > {folder.name}/label.log")
        try:
            run([script(command[0]), *command[1:]], folder / "label.log")
            if plan.submits:
                submitted.touch()
        except CommandError as err:
            say(str(err))
        if (have := len(labelled_frames(labelled))) >= wanted:
            return
        say(f"{have} of {wanted} frames have labels")
        if submitted.is_file():
            break
    raise WaitingError(
        f"{labelled}: {have} of {wanted} frames have labels. Start the same command again "
        f"when it is complete, or to try again; {rest}"
    )


def only_unlabelled(printed: str, campaign: Path) -> bool:
    """Whether all that went wrong in a campaign is that runs could not be labelled.

    A calculator may fail on wreckage for ever, which must not hold up the rounds.
    """
    if UNLABELLED not in printed:
        return False
    return all(row["status"] != "error" for row in read_runs(campaign))


def labelled_frames(path: Path) -> list[Atoms]:
    """Frames of a file that have energy and forces, each once, should it have been appended."""
    frames = read_extxyz(path) if path.is_file() else ()
    found = {hash_of(frame): frame for frame in frames if has_labels(frame)}
    return list(found.values())
