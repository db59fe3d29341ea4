"""Whether work takes time in proportion to its size, on a machine that is shared."""

import gc
import time


def in_proportion(prepare, size, tries=5):
    """Return whether 8 times the size takes less than 24 times the time once.

    `prepare(size)` returns the work. A square would take 64 times. Both sizes are
    measured side by side, as a machine may be faster at one time than at another.
    """

    def seconds(work):
        started = time.process_time()
        work()
        return time.process_time() - started

    gc.disable()  # it looks at all objects of all tests
    try:
        works = prepare(size), prepare(8 * size)
        pairs = (tuple(map(seconds, works)) for _ in range(tries))
        return any(long < 24 * short + 0.001 for short, long in pairs)
    finally:
        gc.enable()
