"""Records on disk: whole or not there, whoever is killed, whatever the disk says."""

import os
import re
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from proxy.usage import spool
from proxy.usage.spool import START, Segment, Spool, backlog
from tests.portals import ROOT, wait_for

PLENTY = 2**20


def records(segment: Segment) -> list[bytes]:
    found, position = [], START
    while position < segment.size:
        piece = segment.read(position, PLENTY)
        found += piece.records
        position = piece.end
    return found


def adopted(folder) -> list[bytes]:
    """What all segments of processes that are gone hold; it is taken away."""
    found = []
    for segment in Spool(folder).orphans():
        found += records(segment)
        segment.remove()
    return found


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "spool"


def test_records_come_back_in_order(folder):
    own = Spool(folder)
    for number in range(1000):
        own.append(b'["call",%d]' % number)

    [segment] = own.waiting()
    assert records(segment) == [b'["call",%d]' % number for number in range(1000)]
    own.close()


def test_only_this_user_may_look(folder):
    own = Spool(folder)
    own.append(b"x")

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()] == [0o600]
    own.close()


def test_many_threads_write_at_once(folder):
    own = Spool(folder)
    threads = [
        threading.Thread(target=lambda name=name: [own.append(b"%d-%d" % (name, n)) for n in range(500)])
        for name in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    [segment] = own.waiting()
    found = records(segment)
    assert len(found) == 4000
    assert set(found) == {b"%d-%d" % (name, n) for name in range(8) for n in range(500)}
    own.close()


def test_a_segment_that_is_full_gives_its_disk_back_once_taken_over(folder, monkeypatch):
    monkeypatch.setattr(spool, "ROLL_BYTES", 1000)
    own = Spool(folder)
    for _ in range(300):
        own.append(b"x" * 90)
    assert len(list(folder.iterdir())) == 30

    for segment in own.waiting():
        segment.mark_written(segment.size)

    assert own.waiting() == []
    assert len(list(folder.iterdir())) == 1
    own.close()
    assert list(folder.iterdir()) == []


WRITER = """
import sys
from pathlib import Path
from proxy.usage.spool import Spool
own = Spool(Path(sys.argv[1]))
number = 0
while True:
    own.append(b"%d " % number + b"x" * 300)
    number += 1
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


def test_what_a_killed_process_wrote_is_all_there(folder):
    """A record is on disk when `append` returns, and the next process finds it."""
    command = [sys.executable, "-c", WRITER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        for _ in range(2000):
            process.stdout.readline()
        assert adopted(folder) == [], "its owner lives"
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split("\n")

    found = adopted(folder)

    said = 2000 + sum(bool(line) for line in rest[:-1])
    assert said <= len(found) <= said + 1
    assert [int(record.split()[0]) for record in found] == list(range(len(found)))
    assert adopted(folder) == []


@pytest.mark.parametrize("cut", [1, 5, 9, 12, 20])
def test_a_record_cut_short_by_a_crash_is_passed_over(folder, cut):
    own = Spool(folder)
    for number in range(3):
        own.append(b"record %d" % number)
    [segment] = own.segments
    os.ftruncate(segment.descriptor, segment.size - cut)
    segment.close()  # and the lock is gone, as if the process were

    expected = [b"record 0", b"record 1", b"record 2"][: 2 if cut < 19 else 1]
    assert adopted(folder) == expected


def test_a_damaged_record_is_counted_and_the_others_are_read(folder):
    own = Spool(folder)
    for number in range(3):
        own.append(b"record %d" % number)
    [segment] = own.segments
    os.pwrite(segment.descriptor, b"R", START + 18 + 9)

    piece = segment.read(START, PLENTY)

    assert (piece.records, piece.damaged) == ([b"record 0", b"record 2"], 1)
    own.close()


def test_a_damaged_stretch_without_lines_hides_nothing_after_it(folder):
    own = Spool(folder)
    for record in (b"x" * 5000, b"last"):
        own.append(record)
    [segment] = own.segments
    os.pwrite(segment.descriptor, bytes(4900), START)

    pieces, position = [], START
    while position < segment.size:
        pieces.append(segment.read(position, 1000))
        position = pieces[-1].end

    assert [record for piece in pieces for record in piece.records] == [b"last"]
    assert sum(piece.damaged for piece in pieces) == len(pieces)
    own.close()


FULL = """
import resource, sys
from pathlib import Path
from proxy.usage.spool import Spool
own = Spool(Path(sys.argv[1]))
own.append(b"first")
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
kept = 1
for number in range(20):
    try:
        own.append(b"x" * 1000)
        kept += 1
    except OSError as error:
        pass
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
own.append(b"last")
print(kept + 1)
"""


def test_what_does_not_fit_on_the_disk_harms_nothing_else(folder):
    """A limit on the file's size stands for a full disk: the kernel writes what fits, then refuses."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(folder)], cwd=ROOT, capture_output=True, text=True, check=True
    )

    found = adopted(folder)

    assert len(found) == int(done.stdout) == 6
    assert (found[0], found[-1]) == (b"first", b"last")


def test_only_one_adopts(folder):
    own = Spool(folder)
    own.append(b"x")
    [segment] = own.segments
    segment.close()

    first = list(Spool(folder).orphans())

    assert len(first) == 1
    assert list(Spool(folder).orphans()) == []
    first[0].remove()


def left_behind(own: Spool) -> None:
    """As if its process were gone."""
    for segment in own.segments:
        segment.close()
    own.segments = []


def test_one_processs_segments_are_adopted_in_the_order_they_were_written(folder, monkeypatch):
    monkeypatch.setattr(spool, "ROLL_BYTES", 1)
    writers = [Spool(folder) for _ in range(3)]
    for number in range(12):
        for name, own in enumerate(writers):
            own.append(b"%d %d" % (name, number))
    for own in writers:
        left_behind(own)
    old = Segment.create(folder, "f" * 32)  # as they were named before
    old.append(b"old 0")
    old.close()

    found = [record.split() for record in adopted(folder)]

    for name in (b"0", b"1", b"2"):
        assert [int(number) for writer, number in found if writer == name] == list(range(12))
    assert [b"old", b"0"] in found


def test_while_one_adopts_nobody_adopts_what_was_written_after(folder, monkeypatch):
    monkeypatch.setattr(spool, "ROLL_BYTES", 1)
    own, other = Spool(folder), Spool(folder)
    own.writer, other.writer = "a", "b"
    for number in range(3):
        own.append(b"%d" % number)
    left_behind(own)
    other.append(b"other")
    left_behind(other)

    first = next(Spool(folder).orphans())

    assert adopted(folder) == [b"other"]
    first.close()
    assert adopted(folder) == [b"0", b"1", b"2"]


def test_a_child_leaves_its_parents_segment_alone(folder):
    own = Spool(folder)
    own.append(b"parent's")
    [segment] = own.segments
    if (child := os.fork()) == 0:
        own.append(b"child's")
        os._exit(0)
    os.waitpid(child, 0)
    own.append(b"parent's too")

    assert records(segment) == [b"parent's", b"parent's too"]
    assert adopted(folder) == [b"child's"]
    own.close()


def test_the_backlog_is_what_has_not_been_taken_over(folder):
    own, other = Spool(folder), Spool(folder)
    for number in range(5):
        own.append(b"own %d" % number)
    other.append(b"other")
    [segment] = own.waiting()
    segment.mark_written(segment.read(START, 40).end)

    found = backlog(folder)

    assert (found.count, sorted(found.firsts)) == (4, [b"other", b"own 2"])
    for one in (own, other):
        one.close()
    assert backlog(folder / "none").count == 0


def bytes_read() -> int:
    """By this thread, ever."""
    return int(re.search(r"rchar: (\d+)", Path("/proc/thread-self/io").read_text())[1])


def test_what_has_been_counted_is_not_read_again(folder):
    own, count = Spool(folder), spool.BacklogCounter()
    for number in range(2000):
        own.append(b"%d " % number + b"x" * 500)
    assert count.backlog(folder).count == 2000
    [segment] = own.waiting()
    before = bytes_read()

    own.append(b"more")
    assert count.backlog(folder).count == 2001
    segment.mark_written(segment.read(START, 5000).end)
    found = count.backlog(folder)

    assert (found.count, found.firsts[0].split()[0]) == (1992, b"9")
    assert bytes_read() - before < 100_000
    segment.mark_written(segment.size)
    assert count.backlog(folder).count == 0
    own.close()
    assert count.backlog(folder).count == 0
    assert count.known == {}


@pytest.mark.parametrize("written", [b"12", b"12345678 half"])
def test_a_record_that_is_still_being_written_is_counted_when_it_is_whole(folder, written):
    own, count = Spool(folder), spool.BacklogCounter()
    own.append(b"first")
    [segment] = own.segments
    os.pwrite(segment.descriptor, written, segment.size)
    assert count.backlog(folder) == spool.Backlog(count=1, firsts=[b"first"])

    own.append(b"second")

    assert count.backlog(folder).count == 2
    own.close()


def test_a_record_costs_little(folder):
    """On the request path: a tenth of a millisecond would be far too much."""
    own = Spool(folder)
    record = b"x" * 350
    best = min(timed(own, record) for _ in range(5))
    own.close()

    assert best < 60e-6


def timed(own: Spool, record: bytes, count: int = 500) -> float:
    started = time.perf_counter()
    for _ in range(count):
        own.append(record)
    return (time.perf_counter() - started) / count


def test_a_segment_never_finished_being_made_is_cleared_away(folder):
    folder.mkdir()
    stale, fresh = folder / "a.new", folder / "b.new"
    stale.touch()
    os.utime(stale, (1, 1))
    fresh.touch()

    assert adopted(folder) == []

    assert wait_for(lambda: not stale.exists())
    assert fresh.exists()
