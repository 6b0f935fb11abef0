"""A forked command is as one that was started: the same program says, leaves and ends the same."""

import fcntl
import os
import subprocess
import sys
import time

import preloaded
import pytest

PROGRAM = """
import os, signal, sys
print(sys.argv[1:], os.getcwd(), sorted(os.environ.items()), os.getsid(0) == os.getpgrp() == os.getpid())
print(sys.stdin.read(), file=sys.stderr)
{}
"""


@pytest.mark.parametrize(
    "end", ["", "sys.exit(3)", "sys.exit('so it is')", "sys.exit(None)", "os.kill(os.getpid(), signal.SIGTERM)"]
)
def test_it_says_and_ends_the_same(tmp_path, end):
    command = [sys.executable, "-c", PROGRAM.format(end), "a", "b c"]
    settings = {"cwd": tmp_path, "env": {"KDBIAS_ALLOCATOR": "0", "LC_CTYPE": "C.UTF-8", "X": "ä"}}
    ours = preloaded.run(command, **settings)
    theirs = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, start_new_session=True, **settings
    )
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)


def test_a_file_is_a_program_and_an_error_has_its_traceback(tmp_path):
    (tmp_path / "beside.py").write_text("value = 3\n")
    (tmp_path / "program.py").write_text("import beside\nif __name__ == '__main__': raise ValueError(beside.value)")
    done = preloaded.run([sys.executable, "program.py"], cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("ValueError: 3\n")


@pytest.mark.parametrize("number", range(13, 18))  # among them those that the child is given others under
def test_it_holds_what_it_is_given_and_nothing_else(tmp_path, number):
    first, write = os.pipe()
    read = fcntl.fcntl(first, fcntl.F_DUPFD, number)
    os.close(first)
    command = [sys.executable, "-c", "import os, sys; os.read(int(sys.argv[1]), 1)", str(read)]
    process = preloaded.Forked(command, cwd=tmp_path, pass_fds=(read,))
    os.close(read)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.1)
    os.close(write)  # the only one: it ends
    assert process.wait(60) == 0


def test_what_it_starts_is_forked_as_well_and_can_outlive_it(tmp_path):
    late = "import sys, time; time.sleep(.5); print('torch' in sys.modules, flush=True)"
    program = f"""
import sys
from kdbias.runs import process
with open("log", "wb") as log:
    process.subprocess.Popen([sys.executable, "-c", {late!r}], stdout=log, stderr=log)
"""
    assert preloaded.run([sys.executable, "-c", program], cwd=tmp_path, timeout=60).returncode == 0
    end = time.monotonic() + 60
    while (tmp_path / "log").read_text() != "True\n":
        assert time.monotonic() < end
        time.sleep(0.05)
