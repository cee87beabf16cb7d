"""How other programs use the settings; checked by mypy, never run."""

from warmset import Budget, ModelPolicy, Settings
from warmset.core.settings import GpuBudget


def usable(settings: Settings, total_bytes: int) -> int:
    return settings.budget.budget_bytes("GPU-0", 0, total_bytes)


def pinned(settings: Settings) -> tuple[ModelPolicy, ...]:
    return tuple(policy for policy in settings.models.values() if policy.pin)


BUDGET: Budget = Budget(default=GpuBudget(vram_limit_ratio=0.9), ram_limit_bytes=1 << 35)
