"""The circuit breaker, by a clock that only tests move."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from resources.circuit import LONGEST_PAUSE_S, Circuit, State


@dataclass
class Clock:
    """Stands still until it is moved."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


def state_of(circuit: Circuit) -> State:
    """Return the state, which mypy would else take for settled by the last assertion."""
    return circuit.state


def make_circuit(clock: Clock, give_up_s: float = 300.0) -> Circuit:
    return Circuit(failures=3, pause_s=5.0, give_up_s=give_up_s, clock=clock)


def open_circuit(clock: Clock, give_up_s: float = 300.0) -> Circuit:
    circuit = make_circuit(clock, give_up_s)
    for _ in range(3):
        circuit.fail()
    return circuit


def test_failures_in_a_row_open_it_and_nobody_may_send() -> None:
    circuit = make_circuit(Clock())
    for _ in range(2):
        circuit.fail()
        assert circuit.admit()
    circuit.fail()
    assert state_of(circuit) == "open"
    assert not circuit.admit()
    assert circuit.wait_s == 5.0


def test_a_success_between_failures_keeps_it_closed() -> None:
    circuit = make_circuit(Clock())
    for _ in range(20):
        circuit.fail()
        circuit.fail("a")
        circuit.succeed()
    assert state_of(circuit) == "closed"


def test_one_image_alone_never_opens_it_and_three_do() -> None:
    circuit = make_circuit(Clock())
    for _ in range(50):
        circuit.fail("poisoned")
    assert state_of(circuit) == "closed"
    circuit.fail("second")
    assert state_of(circuit) == "closed"
    circuit.fail("third")
    assert state_of(circuit) == "open"


def test_images_that_failed_while_others_were_seen_count_no_more_until_they_are_seen() -> None:
    circuit = make_circuit(Clock())
    for image in "ab":
        circuit.fail(image)
    circuit.succeed("c")
    for image in "abab":
        circuit.fail(image)
    circuit.fail("d")
    circuit.fail("e")
    assert state_of(circuit) == "closed"
    circuit.succeed("a")
    for image in "adf":
        circuit.fail(image)
    assert state_of(circuit) == "closed"  # d failed before a was seen
    circuit.fail("g")
    assert state_of(circuit) == "open"


def test_after_the_pause_one_probe_is_let_through_and_its_success_closes_it() -> None:
    clock = Clock()
    circuit = open_circuit(clock)
    clock.now_s += 5.0
    assert circuit.admit()
    assert state_of(circuit) == "half-open"
    assert not circuit.admit()
    circuit.succeed()
    assert state_of(circuit) == "closed"
    assert circuit.admit()
    assert circuit.wait_s == 0.0


def test_probes_that_fail_double_the_pause_up_to_a_minute() -> None:
    clock = Clock()
    circuit = open_circuit(clock, give_up_s=1e9)
    pauses = []
    for _ in range(2000):
        pauses.append(circuit.wait_s)
        clock.now_s += circuit.wait_s
        assert circuit.admit()
        circuit.fail("whatever")
    assert pauses[:6] == [5.0, 10.0, 20.0, 40.0, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    assert set(pauses[6:]) == {LONGEST_PAUSE_S}


def test_pauses_are_short_again_after_a_success() -> None:
    clock = Clock()
    circuit = open_circuit(clock)
    for _ in range(3):
        clock.now_s += circuit.wait_s
        circuit.admit()
        circuit.fail()
    circuit.succeed()
    for _ in range(3):
        circuit.fail()
    assert circuit.wait_s == 5.0


def test_a_probe_that_nobody_waits_for_makes_room_for_the_next() -> None:
    clock = Clock()
    circuit = open_circuit(clock)
    clock.now_s += 5.0
    assert circuit.admit()
    circuit.abandon()
    assert state_of(circuit) == "open"
    assert circuit.admit()
    circuit.succeed()
    circuit.abandon()
    assert state_of(circuit) == "closed"


def test_news_of_requests_sent_before_it_opened_is_believed_only_if_good() -> None:
    clock = Clock()
    circuit = open_circuit(clock)
    clock.now_s += 4.0
    circuit.fail()
    assert circuit.wait_s == 1.0
    circuit.succeed()
    assert state_of(circuit) == "closed"


def test_it_is_spent_when_it_stays_open_for_too_long() -> None:
    clock = Clock()
    circuit = open_circuit(clock, give_up_s=12.0)
    clock.now_s += 5.0
    assert circuit.admit()
    circuit.fail()
    assert not circuit.is_spent
    assert circuit.wait_s == 7.0  # not the whole pause: the end comes sooner
    clock.now_s += 7.0
    assert circuit.is_spent
    assert not circuit.admit()
    circuit.succeed()
    assert not circuit.is_spent


@given(
    st.lists(st.one_of(st.sampled_from(["succeed", "fail", "abandon", "admit"]), st.floats(0.0, 100.0)), max_size=60)
)
def test_whatever_happens_at_most_one_request_is_let_through_an_open_circuit(steps: list[str | float]) -> None:
    clock = Clock()
    circuit = make_circuit(clock)
    for step in steps:
        before = circuit.state
        if isinstance(step, float):
            clock.now_s += step
        elif step == "admit":
            admitted = circuit.admit()
            assert admitted or before != "closed"
            assert not admitted or before != "half-open"
            assert (before == "open" and admitted) == (before != state_of(circuit))
        elif step == "fail":
            circuit.fail()
            assert state_of(circuit) in ("open", before)
        else:
            getattr(circuit, step)()
        assert circuit.wait_s >= 0.0
        assert not (circuit.is_spent and circuit.state == "closed")
