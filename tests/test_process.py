"""What happens around a process: its start, its forks, its end, and what it leaves behind."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from processes import USE_EVERYTHING, finish, leftovers, run, start

from dlgrad.runtime import temporary

pytestmark = pytest.mark.skipif(
    not (shutil.which("clang") or shutil.which("gcc")), reason="neither clang nor gcc is there"
)

# The end of a process -----------------------------------------------------------------------


def test_a_normal_end_leaves_nothing(tmp_path):
    code = (
        "import os, tempfile\n"
        "compute()\n"
        "found = os.listdir(tempfile.gettempdir())\n"
        "assert len(found) == 1 and found[0].startswith(f'dlgrad-{os.getpid()}-'), found\n"
        "folder = os.path.join(tempfile.gettempdir(), found[0])\n"
        "assert os.stat(folder).st_mode & 0o777 == 0o700\n"
        "print([n for n in os.listdir(folder) if n.endswith('.so')])\n"
    )
    assert "dg_test_kernel" in run(USE_EVERYTHING + code, tmp_path)
    assert leftovers(tmp_path) == []


def test_an_exception_leaves_nothing(tmp_path):
    child = start(USE_EVERYTHING + "kept = compute()\nraise RuntimeError('on purpose')", tmp_path)
    _, error = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "on purpose" in error
    assert leftovers(tmp_path) == []


def test_ctrl_c_leaves_nothing(tmp_path):
    code = (
        "backend = compute()\n"
        "import ctypes\n"
        "a = Buffer(backend, 4 * N)\n"
        "a.copy_in(memoryview(bytes(4 * N)))\n"
        "program = backend.compile_source(KERNEL.replace('NAME', 'dg_long'), 'dg_long')\n"
        "launch = Launch(program, ((0, 0), (0, 0)), (), (2.0,), N, 1 << 31)\n"
        "sequence = backend.prepare([launch] * 100_000)\n"
        "print('ready', flush=True)\n"
        "backend.run(sequence, [a.address], [])\n"
        "print('not interrupted', flush=True)\n"
    )
    child = start(USE_EVERYTHING + code, tmp_path)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    out, error = child.communicate(timeout=60)
    assert "KeyboardInterrupt" in error
    assert "not interrupted" not in out
    assert leftovers(tmp_path) == []


def test_a_daemon_thread_at_the_end_is_no_crash(tmp_path):
    code = (
        "import threading\n"
        "def forever():\n"
        "    try:\n"
        "        while True: compute()\n"
        "    except Exception: pass\n"
        "compute()\n"
        "for _ in range(2): threading.Thread(target=forever, daemon=True).start()\n"
        "import time; time.sleep(0.2)\n"
    )
    run(USE_EVERYTHING + code, tmp_path)
    assert leftovers(tmp_path) == []


def test_a_thread_that_kept_the_lock_holds_up_no_finalizer(tmp_path):
    """As a daemon thread does that is stopped at the end, in the middle of an evaluation."""
    code = (
        "import sys, threading, dlgrad\n"
        "from dlgrad.runtime import engine\n"
        "class Late:\n"
        "    def __del__(self):\n"
        "        print(sys.is_finalizing(), (dlgrad.ones(2) + 1).tolist())\n"
        "(dlgrad.ones(2) + 1).tolist()\n"
        "late = Late()\n"
        "thread = threading.Thread(target=engine._lock.held.acquire)\n"
        "thread.start(); thread.join()\n"
    )
    assert run(code, tmp_path, DLGRAD_DEVICE="python") == "True [2.0, 2.0]\n"


def test_memory_used_after_the_end_is_an_error_and_no_crash(tmp_path):
    code = (
        "import atexit\n"
        "kept = []\n"
        "def late():\n"
        "    backend = kept[0].backend\n"
        "    try: compute()\n"
        "    except RuntimeError as error: print(error)\n"
        "    kept.clear()\n"
        "atexit.register(late)\n"  # before dlgrad's own, so it runs after it
        "kept.append(Buffer(compute(), 1000))\n"
    )
    assert "the process is ending" in run(USE_EVERYTHING + code, tmp_path)
    assert leftovers(tmp_path) == []


def test_leftovers_of_a_killed_process_are_swept(tmp_path):
    code = "compute()\nprint('ready', flush=True)\nimport time; time.sleep(60)"
    killed, alive = (start(USE_EVERYTHING + code, tmp_path) for _ in range(2))
    for child in (killed, alive):
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    killed.kill()
    killed.communicate()
    (tmp_path / "tmp" / "dlgrad-notes").mkdir()  # a name like ours, and not ours
    assert len(leftovers(tmp_path)) == 3
    run(USE_EVERYTHING + "compute()", tmp_path)
    left = leftovers(tmp_path)
    assert left[0].startswith(f"dlgrad-{alive.pid}-")
    assert left[1:] == ["dlgrad-notes"]
    alive.kill()
    alive.communicate()


def test_a_directory_whose_lock_is_held_is_not_swept(tmp_path):
    """As of a process in another container, whose number means nothing here."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    folder = tmp_path / f"dlgrad-{gone.pid}-abc"
    folder.mkdir(mode=0o700)
    assert not temporary._is_abandoned(str(folder))  # too young to judge without a lock
    held = temporary._hold(str(folder / "lock"))
    assert held >= 0
    assert not temporary._is_abandoned(str(folder))
    os.close(held)
    assert temporary._is_abandoned(str(folder))
    (folder / "lock").unlink()
    old = time.time() - 2 * temporary.GRACE_SECONDS
    os.utime(folder, (old, old))
    assert temporary._is_abandoned(str(folder))
    (tmp_path / f"dlgrad-{gone.pid}-link").symlink_to(folder)
    assert not temporary._is_abandoned(str(tmp_path / f"dlgrad-{gone.pid}-link"))


# Forks --------------------------------------------------------------------------------------

FORK = """
import os, sys, tempfile, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks with threads
compute()
mine = set(os.listdir(tempfile.gettempdir()))
child = os.fork()
if child == 0:
    compute()                        # helpers start anew
    compute("dg_another_kernel")     # and new kernels load from a directory of its own
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
assert set(os.listdir(tempfile.gettempdir())) == mine, os.listdir(tempfile.gettempdir())
compute()
compute("dg_third_kernel")
"""

MULTIPROCESSING = """
import multiprocessing, os, warnings
warnings.simplefilter("ignore", DeprecationWarning)

def work(number):
    compute(f"dg_worker_kernel_{number}")
    return number

if __name__ == "__main__":
    compute()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(work, range(4)) == [0, 1, 2, 3]
        pool.close()
        pool.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("code", [FORK, MULTIPROCESSING], ids=["fork", "multiprocessing"])
def test_a_forked_child_computes_and_leaves_the_parent_alone(tmp_path, code):
    run(USE_EVERYTHING + code, tmp_path)
    assert leftovers(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_forks_while_other_threads_compute(tmp_path):
    code = (
        "import os, threading, warnings\n"
        "warnings.simplefilter('ignore', DeprecationWarning)\n"
        "compute()\n"
        "stop = threading.Event()\n"
        "def busy():\n"
        "    while not stop.is_set(): (dlgrad.ones(300, 300) @ dlgrad.ones(300, 300)).realize()\n"
        "thread = threading.Thread(target=busy); thread.start()\n"
        "for _ in range(10):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        compute()\n"
        "        os._exit(0)\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "stop.set(); thread.join()\n"
    )
    run(USE_EVERYTHING + code, tmp_path)


# The start -----------------------------------------------------------------------------------


def test_nothing_is_opened_by_an_import(tmp_path):
    code = (
        "import sys\n"
        "seen = []\n"
        "watched = ('subprocess.Popen', 'os.fork', 'os.posix_spawn')\n"
        "def watch(event, arguments):\n"
        "    if event in watched: seen.append(event)\n"
        "    if event == 'ctypes.dlopen' and arguments[0]: seen.append(arguments)\n"
        "sys.addaudithook(watch)\n"
        "import dlgrad.c_src.backend\n"
        "import os, tempfile\n"
        "assert not seen, seen\n"
        "assert os.listdir(tempfile.gettempdir()) == []\n"
    )
    run(code, tmp_path)


def test_two_children_share_nothing_but_the_cache(tmp_path):
    children = [start(USE_EVERYTHING + "compute()", tmp_path) for _ in range(3)]
    for child in children:
        finish(child)
    assert leftovers(tmp_path) == []


def test_a_binary_that_does_not_load_here_is_compiled_anew(tmp_path):
    """As in a home directory that machines with different system libraries share."""
    run(USE_EVERYTHING + "compute()", tmp_path)
    code = (
        "import glob, hashlib, json, os\n"
        "folder = os.environ['DLGRAD_CACHE_DIR']\n"
        "for path in glob.glob(folder + '/*.so'):\n"
        "    data = b'no library' + open(path, 'rb').read()\n"
        "    open(path, 'wb').write(data)\n"
        "    record = json.load(open(path[:-3] + '.json'))\n"
        "    record['sha256'] = hashlib.sha256(data).hexdigest()\n"
        "    json.dump(record, open(path[:-3] + '.json', 'w'))\n"
    )
    run(code, tmp_path, PYTHONWARNINGS="ignore")
    run(USE_EVERYTHING + "compute()", tmp_path)
    run(USE_EVERYTHING + "compute()", tmp_path, DLGRAD_NO_COMPILE="1")


def test_a_lock_that_was_held_is_free_in_a_child(tmp_path):
    code = (
        "import os, threading, warnings\n"
        "warnings.simplefilter('ignore', DeprecationWarning)\n"
        "from dlgrad import helpers\n"
        "from dlgrad.runtime import cache\n"
        "held, done = threading.Event(), threading.Event()\n"
        "def hold():\n"
        "    with cache._lock.held: held.set(); done.wait(30)\n"
        "thread = threading.Thread(target=hold); thread.start(); held.wait(30)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    cache.directory()\n"
        "    os._exit(7)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7\n"
        "done.set(); thread.join()\n"
    )
    run(code, tmp_path)
