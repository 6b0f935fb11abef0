"""Plans of jobs in lanes, from durations and needs alone, and the bounds that no plan beats."""

import doctest
import itertools
import random

import pytest

from kdbias.runs import schedule
from kdbias.runs.schedule import MOST_THREADS, SPEED, critical_paths, makespan, plan, slots

DEMO = {"teacher": 120, "student": 415, "control": 354}  # seconds in one lane of two, measured beside other work


def demo(seeds):
    jobs, needs, cost = ["teacher"], {}, {"teacher": DEMO["teacher"]}
    for seed in range(seeds):
        needs[f"student {seed}"] = "teacher"
        for group in ("student", "control"):
            jobs.append(f"{group} {seed}")
            cost[f"{group} {seed}"] = DEMO[group]
    return jobs, needs, cost


def study(seeds):
    """Six groups of unequal length, four teachers, one of which serves two, in the order of needs, seed by seed."""
    length = {"control": 100, "exp1": 110, "exp1_vit": 115, "smoothing": 105, "exp3": 400, "exp3_cnn": 150}
    taught = {"exp1": "cnn", "smoothing": "cnn", "exp1_vit": "vit", "exp3": "ssl", "exp3_cnn": "ssl_cnn"}
    cost, needs, jobs = {"cnn": 120, "vit": 200, "ssl": 90, "ssl_cnn": 60}, {}, []
    for seed, group in itertools.product(range(seeds), length):
        job = f"{group} {seed}"
        cost[job] = length[group]
        if group in taught:
            needs[job] = taught[group]
            jobs += [] if taught[group] in jobs else [taught[group]]
        jobs.append(job)
    return jobs, needs, cost


def random_graph(number):
    draw = random.Random(number)
    jobs = [f"job {place}" for place in range(draw.randint(1, 12))]
    cost = {job: draw.choice([1, 2, 3, 5, 8]) for job in jobs}
    needs = {job: draw.choice(jobs[:place]) for place, job in enumerate(jobs) if place and draw.random() < 0.4}
    draw.shuffle(jobs)
    return jobs, needs, cost


GRAPHS = [demo(1), demo(3), study(3), *map(random_graph, range(200))]


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_a_plan_keeps_needs_and_lanes_and_leaves_no_job_out(lanes):
    for jobs, needs, cost in GRAPHS:
        found = plan(jobs, needs, cost, lanes=lanes, cores=lanes)
        assert sorted(found.order) == sorted(jobs)
        when = slots(found.order, needs, cost, lanes, found.alone, min(lanes, MOST_THREADS) ** SPEED)
        assert max(slot.end for slot in when.values()) == found.makespan
        assert all(when[job].begin >= when[need].end for job, need in needs.items())
        for own in when:
            beside = {job for job, slot in when.items() if slot.begin <= when[own].begin < slot.end} - {own}
            assert len(beside) < lanes
            assert not beside or own not in found.alone
            assert found.threads[own] == 1 or not beside


@pytest.mark.parametrize("lanes", [2, 3])
def test_a_plan_is_never_longer_than_the_order_given_and_no_lane_idles_while_a_job_could_run(lanes):
    for jobs, needs, cost in GRAPHS:
        found = plan(jobs, needs, cost, lanes=lanes, cores=lanes)
        first = [*(job for job in jobs if job in needs.values()), *(job for job in jobs if job not in needs.values())]
        assert found.makespan <= makespan(first, needs, cost, lanes) + 1e-9
        assert makespan(jobs, needs, cost, lanes) >= sum(cost.values()) / lanes - 1e-9
        when = slots(first, needs, cost, lanes)
        for job, slot in when.items():
            ready = when[needs[job]].end if job in needs else 0
            for place in {other.end for other in when.values() if ready <= other.end < slot.begin} | {ready}:
                at_work = sum(other.begin <= place < other.end for other in when.values())
                assert place >= slot.begin or at_work == lanes, (job, place)


def test_the_demo_of_one_seed_and_a_study_of_unequal_runs_take_less_time_than_in_the_order_of_their_needs():
    jobs, needs, cost = demo(1)
    found = plan(jobs, needs, cost, lanes=2, cores=2)
    assert (makespan(jobs, needs, cost, 2), round(found.makespan)) == (535, 486)
    assert found.threads == {"teacher": 2, "student 0": 1, "control 0": 1}

    jobs, needs, cost = study(3)
    for lanes, before, after in ((2, 1815, 1720), (3, 1295, 1180), (4, 1030, 915)):
        found = plan(jobs, needs, cost, lanes=lanes, cores=lanes)
        assert (makespan(jobs, needs, cost, lanes), found.makespan) == (before, after)


def test_a_student_that_waits_for_its_teacher_blocks_nobody():
    cost = {"student": 1, "teacher": 3, "a": 1, "b": 2}
    when = slots(list(cost), {"student": "teacher"}, cost, 2)
    assert {job: slot.begin for job, slot in when.items()} == {"teacher": 0, "a": 0, "b": 1, "student": 3}


def test_equal_runs_keep_their_order_and_the_last_one_has_the_threads_of_all_lanes():
    jobs = [f"{group} {seed}" for seed in range(3) for group in "abc"]
    found = plan(jobs, {}, dict.fromkeys(jobs, 1.0), lanes=2, cores=2)
    assert found.order == jobs
    assert found.threads == {**dict.fromkeys(jobs, 1), "c 2": 2}
    assert plan(jobs, {}, dict.fromkeys(jobs, 1.0), lanes=1, cores=2).threads == dict.fromkeys(jobs, 2)
    assert plan(jobs, {}, dict.fromkeys(jobs, 1.0), lanes=4, cores=64).threads == dict.fromkeys(jobs, MOST_THREADS)


def test_jobs_that_wait_for_each_other_are_refused():
    with pytest.raises(ValueError, match="a waits for a job that waits for it"):
        slots(["a", "b"], {"a": "b", "b": "a"}, {"a": 1, "b": 1}, 2)


def test_a_path_is_the_longest_chain():
    needs = {"b": "a", "c": "a", "d": "c"}
    assert critical_paths("abcd", needs, {"a": 1, "b": 5, "c": 2, "d": 2}) == {"a": 6, "b": 5, "c": 4, "d": 2}


def test_the_examples_of_the_documentation_hold():
    assert doctest.testmod(schedule).failed == 0
