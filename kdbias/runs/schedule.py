"""In which order jobs begin that share a few lanes, and with how many threads; pure functions of jobs and their costs.

A job may need another one first, as a student needs its teacher. A cost is the time that a job takes in a lane, in any
unit.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

J = TypeVar("J", bound=Hashable)

GAIN = 0.02  # a plan must be shorter by this share to be taken in place of a simpler one
MOST_THREADS = 4  # of one job: small networks gain little from more
SPEED = 0.75  # exponent of the threads: the demo's student had 358 images/s with two, 208 with one


@dataclass(frozen=True)
class Slot:
    """When a job runs: from ``begin`` to ``end``."""

    begin: float
    end: float


@dataclass(frozen=True)
class Plan(Generic[J]):
    """The order in which jobs begin, those that have all lanes to themselves, the threads of each, and the time."""

    order: list[J]
    alone: frozenset[J]
    threads: dict[J, int]
    makespan: float


def plan(jobs: Sequence[J], needs: Mapping[J, J], cost: Mapping[J, float], *, lanes: int, cores: int) -> Plan[J]:
    """Give the shortest of four plans; of about equal ones the simplest.

    The order is that given, with needed jobs first, or that of the longest path: needed jobs first, then the longest.
    In the first, the runs of one seed are done before those of the next. The needed jobs share the lanes, or have all
    of them to themselves, with the threads of all, one after the other.

    A job whose slot in the plan overlaps no other, such as the last one, has the threads of all lanes too. The threads
    depend on the plan alone, not on what is done by now or on how fast it went: they change the last bits of a sum, and
    a study that is started again is to give what it would have given.

    >>> cost = dict(teacher=2, student=5, control=4)
    >>> found = plan(["control", "student", "teacher"], {"student": "teacher"}, cost, lanes=2, cores=2)
    >>> found.order, found.threads, round(found.makespan, 1)
    (['teacher', 'control', 'student'], {'teacher': 2, 'control': 1, 'student': 1}, 6.2)
    """
    needed = frozenset(need for job, need in needs.items() if job in cost and need in cost)
    path = critical_paths(jobs, needs, cost)
    first = [*(job for job in jobs if job in needed), *(job for job in jobs if job not in needed)]
    longest = sorted(first, key=lambda job: -path[job])
    usual, most = (max(1, min(MOST_THREADS, number)) for number in (cores // lanes, cores))
    speed = (most / usual) ** SPEED
    choices = [(order, alone) for alone in (frozenset[J](), needed) for order in (first, longest)]
    found = [slots(order, needs, cost, lanes, alone, speed) for order, alone in choices]
    times = [_end(one) for one in found]
    best = next(place for place, time in enumerate(times) if time * (1 - GAIN) <= min(times))
    (order, alone), when = choices[best], found[best]
    threads = {job: most if job in alone or not _beside(job, when) else usual for job in order}
    return Plan(order, alone, threads, times[best])


def critical_paths(jobs: Sequence[J], needs: Mapping[J, J], cost: Mapping[J, float]) -> dict[J, float]:
    """Give for each job its cost with the longest chain of jobs that wait for it.

    >>> critical_paths(["teacher", "student", "control"], {"student": "teacher"}, dict(teacher=2, student=5, control=4))
    {'teacher': 7, 'student': 5, 'control': 4}
    """
    waiting: dict[J, list[J]] = {}
    for job in jobs:
        if job in needs:
            waiting.setdefault(needs[job], []).append(job)

    def path(job: J) -> float:
        return cost[job] + max(map(path, waiting.get(job, [])), default=0)

    return {job: path(job) for job in jobs}


def slots(
    jobs: Sequence[J],
    needs: Mapping[J, J],
    cost: Mapping[J, float],
    lanes: int,
    alone: frozenset[J] = frozenset(),
    speed: float = 1.0,
) -> dict[J, Slot]:
    """Give when each job runs if every free lane takes the first job in the order given whose need is done.

    The jobs ``alone`` have all lanes, and are faster by ``speed``. A need that is not among the jobs is done.

    Raises:
        ValueError: jobs need each other.
    """
    queue, found, there = list(jobs), dict[J, Slot](), set(jobs)
    running: list[tuple[float, int, J]] = []  # a heap: end, place, job
    now = 0.0
    while queue or running:
        for job in list(queue):
            active = {other for _, _, other in running}
            need = needs.get(job)
            if need in there and not (need in found and found[need].end <= now):
                continue
            if not may_begin(job, active, alone, lanes):
                break
            queue.remove(job)
            found[job] = Slot(now, now + cost[job] / (speed if job in alone else 1.0))
            heapq.heappush(running, (found[job].end, len(found), job))
        if not running:
            raise ValueError(f"{queue[0]} waits for a job that waits for it")
        now, _, _ = heapq.heappop(running)
        while running and running[0][0] <= now:
            heapq.heappop(running)
    return found


def may_begin(job: J, active: set[J], alone: frozenset[J], lanes: int) -> bool:
    """Whether a job has a lane beside the active ones, or all lanes if it needs them."""
    return not active if job in alone else len(active) < lanes and not active & alone


def makespan(jobs: Sequence[J], needs: Mapping[J, J], cost: Mapping[J, float], lanes: int) -> float:
    """Give the time until the last job has ended, as ``slots`` begins them."""
    return _end(slots(jobs, needs, cost, lanes))


def _end(when: Mapping[J, Slot]) -> float:
    return max((slot.end for slot in when.values()), default=0.0)


def _beside(job: J, when: Mapping[J, Slot]) -> bool:
    """Whether another job runs at some time of this one."""
    own = when[job]
    return any(other.begin < own.end and own.begin < other.end for key, other in when.items() if key != job)
