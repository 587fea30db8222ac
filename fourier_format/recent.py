"""What was checked lately, so that the next file of the same layout is not checked from nothing.

Adapters of one layout differ in their digests and numbers, and not in what takes long to check.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final, Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")

PLACES: Final = 64
"""Layouts that are remembered: more than one server has, and few enough to forget about."""

LARGEST: Final = 2**17
"""Bytes of a key that is remembered; 224 targets take a third of it."""


class Recent(Generic[Key, Value]):
    """The values that were last asked for, by key; for any number of threads.

    A value must follow from its key alone, and nobody may change it.
    """

    def __init__(self, places: int = PLACES, largest: int = LARGEST) -> None:
        """Takes how many values are kept, and the largest size of one."""
        self._places = places
        self._largest = largest
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> Value | None:
        """Returns the value of `key`, None where it is not remembered."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def put(self, key: Key, value: Value, size: int) -> None:
        """Remember `value`, and forget what was not asked for the longest; `size` is the key's."""
        if size > self._largest:
            return
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self._places:
                self._values.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._values.clear()
