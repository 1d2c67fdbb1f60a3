"""The provider of the soak, in a process of its own: this project's stand-in with its faults, and slow first bytes.

    python -m bench.soak_server SEED      prints its URL, serves until its standard input closes, then prints its Bill

The faults are the server's own (tests/teacher_server_faults.py); a slow first byte is a good reply that comes late.
"""

import json
import sys
from collections import Counter
from dataclasses import asdict, dataclass

from tests.chat_server import Body, ServerReply
from tests.teacher_server import Behaviour, TeacherServer
from tests.teacher_server_brain import brain
from tests.teacher_server_faults import Faults, canonical_sha

DELAY_S = 0.02
# One reply in so many comes so late; the program waits longer.
SLOW_ONE_IN, SLOW_S = 200, 2.0
FAULTS = Faults(transport=0.05, malformed=0.02, permanent=0.005, retry_after_s=0.2)


@dataclass(frozen=True, kw_only=True)
class Bill:
    """What the server has charged: completions by request, those that the client did not get whole, and the faults.

    `doubled` counts completions that were sent whole for a request that had been sent whole before.
    """

    requests: int
    charged: int
    sent_whole: int
    doubled: int
    broken_off: int
    unseen: int
    faults: dict[str, int]


def answer(body: Body) -> str | ServerReply:
    """Answer as the stand-in teacher does; now and then late."""
    said = brain(body)
    if isinstance(said, str) and int(canonical_sha(body)[:8], 16) % SLOW_ONE_IN == 0:
        return ServerReply(body=said, delay_s=SLOW_S)
    return said


def make_bill(server: TeacherServer) -> Bill:
    """Return what was charged so far."""
    paid, unseen, faults = server.paid, server.paid_unseen, server.ledger.faults
    broken_off = faults["reset in mid-body"]
    return Bill(
        requests=len(paid | unseen),
        charged=paid.total() + unseen.total(),
        sent_whole=len(paid),
        doubled=paid.total() - len(paid),
        broken_off=broken_off,
        unseen=unseen.total() - broken_off,
        faults={str(name): count for name, count in sorted(faults.items())},
    )


def serve(seed: int) -> None:
    """Serve until standard input closes."""
    behaviour = Behaviour(script=answer, seed=seed, delay_s=DELAY_S, faults=FAULTS, keep_bodies=False)
    with TeacherServer(behaviour) as server:
        print(server.url, flush=True)
        sys.stdin.read()
    statuses = Counter({str(status): count for (_, _, status), count in server.ledger.calls.items()})
    print(json.dumps({"bill": asdict(make_bill(server)), "statuses": statuses}), flush=True)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
