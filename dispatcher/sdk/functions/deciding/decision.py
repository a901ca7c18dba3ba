"""Plain or durable: the answer, and why."""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.sdk.functions.deciding.walking import evidence
from dispatcher.sdk.functions.spec import Spec


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a function is durable. `chain` are the names that lead from it to what makes it so:
    ("pipeline", "svc.run", "leaf"); () where it was not looked for, or nothing was found.

    `remark` is what its author should know, "" for nothing.
    """

    is_durable: bool
    reason: str
    chain: tuple[str, ...] = ()
    remark: str = ""

    def __str__(self) -> str:
        return f"{'durable' if self.is_durable else 'plain'}: {self.reason}"


def decide(spec: Spec) -> Decision:
    """Judge a function: by what its author says, else by what its code names. It runs nothing.

    What is decided is right for the modules that are loaded now: decide when all are.
    """
    name = spec.name
    if spec.durable is not None:
        return _as_said(spec, spec.durable)
    chain = evidence(spec.body, name)
    if not spec.is_async:
        return Decision(False, "it is not async", remark=_of_one_that_is_not_async(spec, chain))
    if chain is None:
        return Decision(False, "it names no function of dispatch, and nothing that is durable")
    return Decision(True, f"it names {chain[-1]}{_way(chain)}", chain)


def _way(chain: tuple[str, ...]) -> str:
    return f" ({' → '.join(chain)})" if len(chain) > 2 else ""


def _as_said(spec: Spec, durable: bool) -> Decision:
    if durable and not spec.is_async:
        return Decision(
            False,
            "it is not async",
            remark=f"durable=True means nothing for {spec.name}: make it `async def`.",
        )
    return Decision(durable, f"it says durable={durable}")


def _of_one_that_is_not_async(spec: Spec, chain: tuple[str, ...] | None) -> str:
    if chain is None:
        return ""
    return (
        f"{spec.name} is not async, and can't wait for {chain[-1]}{_way(chain)}: make it "
        f"`async def`, and write `await`."
    )
