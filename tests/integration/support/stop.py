# Has single threads of a process stand still, as if they hung: each line of
# standard input is "stop NAME" or "go NAME", and is answered by itself.
#
#   stop.py PROCESS
#
# A signal would stop all threads, so each is seized (ptrace(2)), and let go
# again when this program ends.
import ctypes, os, sys

SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def trace(request, thread):
    zero = ctypes.c_void_p(0)
    if libc.ptrace(ctypes.c_long(request), ctypes.c_long(thread), zero, zero) < 0:
        sys.exit("ptrace: " + os.strerror(ctypes.get_errno()))


def thread_called(name):
    tasks = "/proc/%s/task" % sys.argv[1]
    for task in os.listdir(tasks):
        if open("%s/%s/comm" % (tasks, task)).read().strip() == name:
            return int(task)
    sys.exit("no thread is called " + name)


while line := sys.stdin.readline():
    action, name = line.split()
    thread = thread_called(name)
    if action == "stop":
        trace(SEIZE, thread)
        trace(INTERRUPT, thread)
        os.waitpid(thread, WALL)
    else:
        trace(DETACH, thread)
    print(line, end="", flush=True)
