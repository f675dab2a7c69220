"""Every verb of a scenario's timeline, once, for whoever plays it.

`take` is called by both players and by the lab's shell. A verb says what is done to which target and what is refused
with which words; how a world does it is its `scenario.hands.Hands`.
"""

from __future__ import annotations

from collections.abc import Mapping

from natkeeper_lab.scenario.file import Step
from natkeeper_lab.scenario.hands import CannotDo, Hands
from natkeeper_lab.scenario.sight import CannotJudge
from natkeeper_lab.scenario.verbs import aws, events, functions, instances, others, places
from natkeeper_lab.scenario.verbs.aim import Verb
from natkeeper_lab.scenario.vocabulary import STEPS

VERBS: Mapping[str, Verb] = {
    **instances.VERBS,
    **places.VERBS,
    **events.VERBS,
    **aws.VERBS,
    **functions.VERBS,
    **others.VERBS,
}
assert VERBS.keys() == STEPS.keys()


def take(hands: Hands, step: Step) -> None:
    """Does one step. Returns when it is done, not when it has had its effect. CannotJudge, which voids the run, when
    it cannot be done."""
    try:
        with hands.by_hand():
            VERBS[step.do](hands, step)
    except CannotDo as problem:
        raise CannotJudge(f"step {step.text}: {problem}") from None
    except hands.refusals as error:
        raise CannotJudge(f"step {step.text} was refused: {error}") from error
