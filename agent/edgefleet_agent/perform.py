"""Doing one step. Each is small, and can be done again after a cut at any point of it."""

from collections.abc import Callable, Mapping
from typing import Any

from . import steps
from .conditions import NO_SPACE, Hold
from .errors import disk_trouble
from .hands.keep import Keeping
from .hands.move import Moving
from .hands.tools import HOLD_AFTER_FULL_DISK_S
from .hands.well import Mending
from .live import Live
from .observe import Now
from .serve.errors import CannotBind


class Performer(Keeping, Moving, Mending):
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
            steps.Settle: self._settle,
            steps.NoteProbation: self._note_probation,
            steps.NoteCalm: self._note_calm,
            steps.ForgetWish: self._forget_wish,
            steps.Govern: self._govern,
            steps.Prove: self._prove,
            steps.Fail: self._fail,
            steps.FallBack: self._fall_back,
            steps.StandAside: self._stand_aside,
            steps.ComeBack: self._come_back,
            steps.EndWorker: self._end_worker,
            steps.Replace: self._replace,
            steps.NoteRuntime: self._note_runtime,
            steps.Cancel: self._cancel,
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
        except CannotBind as error:
            # Nobody can ask a model without its sockets; whoever mends the folder finds the agent trying again.
            if live.first_time("cannot-serve"):
                self.journal.tell("cannot-serve", str(error), model)
            live.back_in_place()
            live.start_not_before = now.monotonic_s + HOLD_AFTER_FULL_DISK_S
            live.hold = Hold(str(error), now.monotonic_s + HOLD_AFTER_FULL_DISK_S)
            return False
        except OSError as error:
            live.back_in_place()
            kind, words = disk_trouble(error)
            why = f"{words} while {step.why}"
            if live.first_time(kind):
                self.journal.tell(kind, why, model)
            live.hold = Hold(why, now.monotonic_s + HOLD_AFTER_FULL_DISK_S, full=kind == NO_SPACE)
            return False
        return True
