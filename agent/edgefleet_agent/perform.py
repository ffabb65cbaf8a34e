"""Doing one step. Each is small, and can be done again after a cut at any point of it."""

import errno
from collections.abc import Callable, Mapping
from typing import Any

from . import steps
from .hands.keep import Keeping
from .hands.move import Moving
from .hands.tools import HOLD_AFTER_FULL_DISK_S
from .live import Live
from .observe import Now


class Performer(Keeping, Moving):
    """Moves what `decide` said: stores, processes, facts and events. Has no opinion of its own."""

    def _table(self) -> Mapping[type, Callable[[str, Live, Any, Now], None]]:
        return {
            steps.Serve: self._serve,
            steps.Accept: self._accept,
            steps.CountCrash: self._count_crash,
            steps.Restore: self._restore,
            steps.NoteWish: self._note_wish,
            steps.Choose: self._choose,
            steps.Assemble: self._assemble,
            steps.Try: self._try,
            steps.NoteTrial: self._note_trial,
            steps.Load: self._load,
            steps.Activate: self._activate,
            steps.Prove: self._prove,
            steps.Fail: self._fail,
            steps.FallBack: self._fall_back,
        }

    def perform(self, model: str, live: Live, step: steps.Step, now: Now) -> bool:
        """Do `step`; return whether something changed, so that it is worth looking again at once.

        A full or failing disk is no reason to stop: the step is undone, said, and tried again later.
        """
        do = self._table().get(type(step))
        if do is None:
            return False
        try:
            do(model, live, step, now)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            why = f"{'no space: ' if full else 'the disk failed: '}{error.strerror or error} while {step.why}"
            if live.hold is None or live.hold[0] != why:
                self.journal.tell("no-space" if full else "disk-failed", why, model)
            live.hold = (why, now.monotonic_s + HOLD_AFTER_FULL_DISK_S)
            return False
        return True
