"""The knobs of the simulator."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping

FAULTS = frozenset(
    {
        *("400", "401", "404", "429", "429_quota", "500", "503", "529"),
        *("reset", "truncated", "hang", "html", "empty", "broken_json", "error_200"),
        *("bad_output", "wrong_schema", "refusal", "cut_off", "content_filter"),
        *("no_usage", "no_choices", "no_message"),
    }
)
"""The names of everything that can go wrong on purpose."""

_POSITIVE = (
    *("requests_per_minute", "tokens_per_minute", "burst", "max_n", "slots"),
    *("context_length", "prompt_cache", "batch_expiry", "batch_queue", "batch_tokens"),
)

SCHEMA_MODES = frozenset({"json_schema", "json_object", "tool"})


class Knobs(TypedDict, total=False):
    """The keyword arguments that `Settings` takes."""

    seed: int
    latency: float
    jitter: float
    requests_per_minute: float | None
    tokens_per_minute: float | None
    burst: int | None
    faults: Mapping[str, float]
    fault_plan: Mapping[int, str]
    fail_if: Mapping[str, str]
    models: tuple[str, ...]
    api_key: str | None
    max_n: int | None
    schema_modes: tuple[str, ...]
    reject_params: tuple[str, ...]
    slots: int | None
    logprobs: bool
    headers: bool
    retry_after: bool
    fault_delay: float
    context_length: int | None
    prompt_cache: int | None
    batch_latency: float
    batch_expiry: float | None
    batch_queue: int | None
    batch_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the simulated server behaves.

    Attributes
    ----------
    seed
        Fixes the answers, the faults and the latencies.
    latency
        Mean seconds until a request is answered.
    jitter
        Sigma of the log-normal spread of the latency.
    requests_per_minute, tokens_per_minute
        Limits, refilled continuously.
    burst
        Requests that may come at once; those of one second unless told. The bucket of
        tokens holds the same share of its own limit, at least that of one second.
    faults
        Name of a fault to its probability per request; see `FAULTS`.
    fault_plan
        Number of a request, counted from 0 in order of arrival, to its fault.
    fail_if
        Part of a prompt to the fault of every request with it.
    models
        The models served, besides ``"sim"``.
    api_key
        The key every request needs, or the secret that it is signed with for AWS.
    max_n
        The most choices given, whatever ``n`` asks for.
    schema_modes
        The ways to ask for structure that are understood: ``json_schema``,
        ``json_object``, and, on Bedrock, a ``tool`` that must be called.
    reject_params
        Names of body fields that are answered with 400.
    slots
        Requests worked on at once; the others queue, as on a local server.
    logprobs
        Whether the probabilities of tokens are told to those who ask.
    headers
        Whether to send ``x-ratelimit-*``.
    retry_after
        Whether a 429, 503 or 529 says how long to wait.
    fault_delay
        The seconds that an injected 429, 503 or 529 asks to wait.
    context_length
        The most tokens of a prompt.
    prompt_cache
        The fewest tokens of a prompt's beginning that is kept for other requests, and
        told as read or written in their usage; none is kept unless told.
    batch_latency
        Seconds until all requests of a batch are done.
    batch_expiry
        Seconds after which a batch ends, whatever is not done by then.
    batch_queue
        The most requests of all batches that run; above it OpenAI's fail, and
        Google's are refused.
    batch_tokens
        The most tokens of their prompts.

    Examples
    --------
    >>> Settings(latency=0.2, faults={"429": 0.1}).latency
    0.2
    """

    seed: int = 0
    latency: float = 0.0
    jitter: float = 0.0
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    burst: int | None = None
    faults: Mapping[str, float] = field(default_factory=dict)
    fault_plan: Mapping[int, str] = field(default_factory=dict)
    fail_if: Mapping[str, str] = field(default_factory=dict)
    models: tuple[str, ...] = ("sim",)
    api_key: str | None = field(default=None, repr=False)
    max_n: int | None = None
    schema_modes: tuple[str, ...] = ("json_schema", "json_object", "tool")
    reject_params: tuple[str, ...] = ()
    slots: int | None = None
    logprobs: bool = True
    headers: bool = True
    retry_after: bool = True
    fault_delay: float = 0.05
    context_length: int | None = None
    prompt_cache: int | None = None
    batch_latency: float = 0.0
    batch_expiry: float | None = None
    batch_queue: int | None = None
    batch_tokens: int | None = None

    def __post_init__(self) -> None:
        """Refuse what could only be a slip of the pen."""
        _check_faults(self)
        for name in ("latency", "jitter", "fault_delay", "batch_latency"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be positive or None")
        if unknown := set(self.schema_modes) - SCHEMA_MODES:
            raise ValueError(f"unknown schema modes: {sorted(unknown)}")


def _check_faults(settings: Settings) -> None:
    named = {
        *settings.faults,
        *settings.fault_plan.values(),
        *settings.fail_if.values(),
    }
    if unknown := named - FAULTS:
        raise ValueError(
            f"unknown faults {sorted(unknown)}; there are {sorted(FAULTS)}"
        )
    shares = settings.faults.values()
    if any(share < 0 for share in shares) or sum(shares) > 1 + 1e-9:  # float noise
        raise ValueError(
            "the probabilities of faults must not be negative or exceed 1 in sum"
        )
