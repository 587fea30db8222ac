"""What a session asks of whoever keeps merged sessions."""

from __future__ import annotations

from typing import Any, Protocol

from fourier_format.adapter import Adapter


class Activator(Protocol):
    """Who keeps merged sessions, for full speed with one adapter."""

    @property
    def size(self) -> int:
        """About how many bytes the merged sessions take."""

    @property
    def active(self) -> tuple[str, ...]:
        """The names of the merged sessions that are there or being made."""

    def activate(self, name: str, adapter: Adapter) -> None:
        """Begin to make the merged session of `adapter`; the live graph answers until then."""

    def deactivate(self, name: str) -> None:
        """Let go of the merged session of `name`, if there is one."""

    def adapter_of(self, name: str) -> Adapter | None:
        """Returns the adapter whose merged session is there, or being made, under `name`."""

    def session_for(self, name: str) -> Any | None:
        """Returns the merged InferenceSession of `name` where it is ready."""

    def wait(self, name: str, timeout: float | None = None) -> Any:
        """Returns the merged InferenceSession of `name` once it is there, or raises why not."""

    def close(self) -> None:
        """Let go of all."""
