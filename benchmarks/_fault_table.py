"""What became of each fault that was tried."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

Outcome = Literal["refused", "harmless", "silent"]


@dataclass
class Tally:
    """Of one kind of fault. Refused: it was said, in a line, and the right numbers came after it.
    Harmless: the right numbers came. Silent: anything else, and what it was."""

    fault: str
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    silent: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome, detail: object) -> None:
        self.outcomes[outcome] += 1
        if outcome == "silent":
            self.silent.append(str(detail))

    def row(self) -> dict[str, Any]:
        of_each = {name: self.outcomes[name] for name in ("refused", "harmless", "silent")}
        return {"fault": self.fault, "tried": self.outcomes.total(), **of_each}
