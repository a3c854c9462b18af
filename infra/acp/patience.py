"""How long the stack waits for its own processes.

Generous in every case: a process that has ended is noticed at once, so that these limits only end a wait for one that
hangs, and a machine that is slow or busy is no fault.
"""

START_S = 300.0
"""For a store to accept connections, or for all that is started after the stores to answer (seconds)."""

UP_S = 3 * START_S
"""For the whole stack to come up (seconds); longer than for its parts, so that the supervisor says which one hangs."""

ANSWER_S = 10.0
"""For one connection or answer while it is tried whether a process is ready; then it is tried again (seconds)."""

STOP_S = 60.0
"""For processes of one role to end after they were asked to, before they are killed (seconds)."""

DOWN_S = 5 * STOP_S
"""For the whole stack to go down: four roles, one after the other, and the supervisor itself (seconds)."""
