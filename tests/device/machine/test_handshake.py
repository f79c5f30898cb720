"""The handshake, step by step and against any sequence of what a PLC may do."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.machine.codes import MEANING, Code
from device.machine.handshake import Answer, Done, Handshake, Inputs, State, Trigger

S = 10**9
UP, DOWN, ACK = Inputs(trigger=True), Inputs(), Inputs(trigger=True, ack=True)


class Bench:
    """A handshake whose parts are recorded."""

    def __init__(self, **options: bool) -> None:
        self.done: list[Done] = []
        self.plc = Handshake(1.0, self.done.append, **options)
        self.plc.block = Code.NONE
        assert self.plc.step(DOWN, 0) is None

    def answered(self) -> list[tuple[int, str, Code]]:
        return [(d.trigger.number, d.answer.verdict, d.answer.code) for d in self.done]


def test_a_part_is_triggered_answered_acknowledged_and_released() -> None:
    bench = Bench()
    plc = bench.plc
    assert plc.outputs.ready
    trigger = plc.step(Inputs(trigger=True, number=7, part="P", lot="L", recipe=3), 10)
    assert trigger == Trigger(1, 7, 10, 10 + S, 3, "P", "L")
    assert not plc.outputs.ready
    assert plc.step(UP, 20) is None
    assert plc.answer(1, Answer("pass", 2, "clean"), 30)
    shown = plc.outputs
    assert (shown.results_ready, shown.ok, shown.ng, shown.unsure) == (True, True, False, False)
    assert (shown.class_id, shown.code, shown.number, shown.ready) == (2, 0, 7, False)
    plc.step(UP, 40)
    plc.step(UP, 50 * S)
    assert plc.outputs == shown  # results stand
    plc.step(ACK, 50 * S)
    assert not any(plc.outputs[:5])
    plc.step(Inputs(ack=True), 50 * S)
    assert not plc.outputs.ready
    plc.step(DOWN, 50 * S)
    assert plc.outputs.ready
    assert bench.answered() == [(7, "pass", Code.NONE)]


@pytest.mark.parametrize(
    ("answer", "bits"),
    [
        (Answer("pass"), (True, False, False)),
        (Answer("fail", 1), (False, True, False)),
        (Answer("unsure"), (False, True, True)),
        (Answer("fault", code=Code.PICTURE), (False, True, False)),
        (Answer("pass", code=Code.PICTURE), (False, True, False)),
    ],
)
def test_what_is_not_a_clean_pass_is_ng(answer: Answer, bits: tuple[bool, ...]) -> None:
    plc = Bench().plc
    plc.step(UP, 1)
    assert plc.answer(1, answer, 2)
    assert plc.outputs[2:5] == bits


def test_unsure_can_be_left_to_the_plc() -> None:
    plc = Bench(unsure_is_ng=False).plc
    plc.step(UP, 1)
    plc.answer(1, Answer("unsure"), 2)
    assert plc.outputs[2:5] == (False, False, True)


def test_a_late_answer_is_ng_and_stays_ng() -> None:
    bench = Bench()
    plc = bench.plc
    plc.step(UP, 0)
    plc.tick(S - 1)
    assert not plc.outputs.results_ready
    plc.tick(S)
    assert (plc.outputs.ng, plc.outputs.code) == (True, Code.DEADLINE)
    assert not plc.answer(1, Answer("pass"), S)
    assert (plc.outputs.ok, plc.outputs.ng) == (False, True)
    assert bench.answered() == [(1, "fault", Code.DEADLINE)]


def test_an_answer_at_the_deadline_is_late() -> None:
    plc = Bench().plc
    plc.step(UP, 0)
    assert not plc.answer(1, Answer("pass"), S)
    assert plc.outputs.code == Code.DEADLINE


def test_a_trigger_while_busy_stops_both_parts() -> None:
    bench = Bench()
    plc = bench.plc
    plc.step(UP, 0)
    plc.step(DOWN, 1)
    assert plc.step(UP, 2) is None
    assert not plc.answer(1, Answer("pass"), 3)
    assert (plc.outputs.ok, plc.outputs.ng, plc.outputs.number) == (False, True, 2)
    assert bench.answered() == [(1, "fault", Code.NOT_READY), (2, "fault", Code.NOT_READY)]


def test_an_ok_does_not_stand_for_the_next_part() -> None:
    bench = Bench()
    plc = bench.plc
    plc.step(UP, 0)
    plc.answer(1, Answer("pass"), 1)
    plc.step(DOWN, 2)
    plc.step(UP, 3)  # not acknowledged
    assert (plc.outputs.ok, plc.outputs.ng, plc.outputs.code) == (False, True, Code.NOT_READY)
    assert bench.answered() == [(1, "pass", Code.NONE), (2, "fault", Code.NOT_READY)]


def test_the_same_number_is_the_same_part_until_it_is_acknowledged() -> None:
    bench = Bench()
    plc = bench.plc
    seven = Inputs(trigger=True, number=7)
    assert plc.step(seven, 0)
    plc.step(Inputs(number=7), 1)
    assert plc.step(seven, 2) is None  # asked again while under way
    assert plc.answer(1, Answer("pass"), 3)
    plc.step(Inputs(number=7), 4)
    assert plc.step(seven, 5) is None  # and while the result stands
    assert plc.outputs.ok
    plc.step(seven._replace(ack=True), 6)
    plc.step(DOWN, 7)
    assert plc.step(seven, 8) is None  # a PLC that does not count must not get an old verdict
    assert (plc.outputs.ng, plc.outputs.code) == (True, Code.REPEATED)
    assert [code for _, _, code in bench.answered()] == [Code.NONE, Code.REPEATED]


@pytest.mark.parametrize("code", [Code.EDITING, Code.CAMERA, Code.NO_MODEL, Code.STOPPED])
def test_a_trigger_while_not_ready_gets_ng_with_the_reason(code: Code) -> None:
    plc = Bench().plc
    plc.block = code
    assert not plc.outputs.ready
    assert plc.step(UP, 1) is None
    assert (plc.outputs.results_ready, plc.outputs.ng, plc.outputs.code) == (True, True, code)


def test_a_trigger_that_is_up_at_the_start_is_ng() -> None:
    done: list[Done] = []
    plc = Handshake(1.0, done.append)
    plc.block = Code.NONE
    assert plc.step(UP, 0) is None
    assert (plc.outputs.ng, plc.outputs.code) == (True, Code.RESTARTED)


def test_without_a_plc_nothing_waits_for_an_acknowledgement() -> None:
    bench = Bench(acknowledged=False)
    for number in range(1, 4):
        trigger = bench.plc.trigger(DOWN, number)
        assert trigger is not None
        assert bench.plc.answer(trigger.id, Answer("pass"), number)
    assert [number for number, *_ in bench.answered()] == [1, 2, 3]


Act = st.one_of(
    st.tuples(st.just("plc"), st.booleans(), st.booleans(), st.integers(0, 3)),
    st.tuples(st.just("answer"), st.sampled_from(["pass", "fail", "unsure"]), st.booleans()),
    st.tuples(st.just("block"), st.sampled_from(list(Code))),
    st.tuples(st.just("line"), st.integers(0, 3)),
)


@settings(max_examples=300)
@given(st.lists(st.tuples(Act, st.integers(0, 600)), max_size=40))
def test_every_part_has_one_verdict_and_no_ok_is_false(acts: list[tuple[tuple, int]]) -> None:  # type: ignore[type-arg]
    """OK is only ever shown for the part that was answered `pass` in time, until it is acked."""
    bench = Bench()
    plc, now, started, passed = bench.plc, 1, [], set()
    for act, milliseconds in acts:
        now += milliseconds * 10**6
        match act:
            case ("plc", trigger, ack, number):
                if begun := plc.step(Inputs(trigger, ack, number=number), now):
                    started.append(begun.id)
            case ("line", number):
                if begun := plc.trigger(Inputs(number=number), now):
                    started.append(begun.id)
            case ("answer", verdict, old):
                ids = started[:-1] if old else started[-1:]
                for i in ids[-1:]:
                    if plc.answer(i, Answer(verdict), now) and verdict == "pass":
                        passed.add(i)
            case ("block", code):
                plc.block = code
        shown = plc.outputs
        assert not (shown.ok and (shown.ng or shown.unsure or shown.code))
        assert shown.ng or not shown.code
        assert shown.results_ready == (plc.state is State.RESULT)
        if shown.ok:
            last = bench.done[-1]
            assert last.trigger.id in passed
            assert last.answered_ns < last.trigger.due_ns
            assert started[-1] == last.trigger.id
        if shown.ready:
            assert plc.block is Code.NONE
    plc.tick(now + 2 * S)
    ids = [done.trigger.id for done in bench.done]
    assert ids == list(range(1, len(ids) + 1))  # each part once, in order
    assert set(started) <= set(ids)


def test_every_code_has_a_meaning() -> None:
    assert set(MEANING) == set(Code)
