"""The queue of calls that wait for a slot without a thread: in turn, fairly between keys, and bounded."""

from proxy.slot_queue import Line, SlotQueue
from proxy.upstream.in_flight import Slot, Slots

ALICE, BOB = Line("a", "alice", False), Line("b", "bob", False)


def joined(queue: SlotQueue, *lines: Line) -> list:
    return [queue.join(line, lambda slot: None, queue.leave) for line in lines]


def test_keys_take_turns_and_each_keeps_its_order():
    queue = SlotQueue()
    first, second, third, other = joined(queue, ALICE, ALICE, ALICE, BOB)
    granted = [queue.grant_next(lambda line: "slot") for _ in range(5)]
    assert [each and each[0] for each in granted] == [first, other, second, third, None]
    assert not queue.lines


def test_a_line_without_room_does_not_stop_the_others():
    queue = SlotQueue()
    _, other = joined(queue, ALICE, BOB)
    assert queue.grant_next(lambda line: "slot" if line == BOB else None) == (other, "slot")


def test_so_many_wait_and_transfers_apart():
    queue = SlotQueue(most=3, most_each=2)
    assert [waiting is not None for waiting in joined(queue, ALICE, ALICE, ALICE, BOB, BOB)] == [
        *(True, True, False),
        *(True, False),
    ]
    assert joined(queue, ALICE._replace(is_transfer=True))[0] is not None


def test_a_call_leaves_once():
    queue = SlotQueue()
    (waiting,) = joined(queue, ALICE)
    assert waiting.leave()
    assert not waiting.leave()
    assert not queue.lines


def test_a_freed_slot_goes_to_the_call_that_waits_and_not_to_a_later_one():
    slots, got = Slots(9, 1, 9, 9, 9, 9), []
    line = {"owner": "alice", "is_transfer": False}
    first = slots.take_or_wait("a", **line, on_slot=got.append)
    waiting = slots.take_or_wait("a", **line, on_slot=got.append)
    assert isinstance(first, Slot)
    assert not isinstance(waiting, Slot)
    first.release()
    assert [slot.name for slot in got] == ["a"]
    assert not isinstance(slots.take_or_wait("a", **line, on_slot=got.append), Slot)
    assert isinstance(slots.take_or_wait("b", owner="bob", is_transfer=False, on_slot=got.append), Slot)
    got[0].release()
    assert (len(got), slots.count) == (2, 2)


def test_a_transfer_that_ends_lets_a_call_of_its_key_and_a_transfer_of_another_begin():
    slots, got = Slots(9, 1, 1, 1, 9, 9), []
    first = slots.take("a", owner="alice", is_transfer=True)
    for name, owner, is_transfer in (("a", "alice", False), ("a", "alice", False), ("b", "bob", True)):
        slots.take_or_wait(name, owner=owner, is_transfer=is_transfer, on_slot=got.append)
    first.release()
    assert [(slot.name, slot.is_transfer) for slot in got] == [("a", False), ("b", True)]
    assert slots.queue.counts == {False: 1, True: 0}


def test_the_queue_asks_for_each_freed_slot_only_until_a_call_has_got_it():
    slots, got = Slots(9, 9, 9, 9, 1, 9), []
    slots.take_or_wait("0", owner="alice", is_transfer=False, on_slot=got.append).release()
    got.append(slots.take("0", owner="alice", is_transfer=False))
    for number in range(100):
        slots.take_or_wait(f"{number}", owner="alice", is_transfer=False, on_slot=got.append)
    asked, find = [], Slots.find_full_limit

    class Counting(Slots):
        def find_full_limit(self, *line):
            asked.append(line)
            return find(self, *line)

    slots.__class__ = Counting
    got[0].release()
    assert len(got) == 2
    assert len(asked) == 2  # to find the slot, and to take it
