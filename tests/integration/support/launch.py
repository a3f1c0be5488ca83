# Starts a program the way systemd does: with sockets that listen already, from
# descriptor 3 on, and their names in the environment.
#
#   launch.py KIND:NAME=PLACE... -- PROGRAM ARGUMENT...
#
# KIND is listen, idle (bound alone) or datagram; PLACE is a path or ADDRESS:PORT.
# Each socket's place goes to standard error: "passed NAME PLACE".
import ctypes, fcntl, os, socket, sys

# Another process of the same user may stop a thread of it.
ctypes.CDLL(None).prctl(0x59616d61, ctypes.c_ulong(-1))

end = sys.argv.index("--")
sockets, names = [], []
for word in sys.argv[1:end]:
    kind, rest = word.split(":", 1)
    name, place = rest.split("=", 1)
    if place.startswith("/"):
        family, address = socket.AF_UNIX, place
    else:
        host, port = place.rsplit(":", 1)
        host = host.strip("[]")
        family, address = socket.AF_INET6 if ":" in host else socket.AF_INET, (host, int(port))
    made = socket.socket(family, socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    if family != socket.AF_UNIX and kind != "datagram":
        # The tests hold the ports that they choose.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(address)
    if family == socket.AF_UNIX:
        os.chmod(address, 0o660)
    if kind == "listen":
        made.listen(16)
    sockets.append(made)
    names.append(name)

for name, made in zip(names, sockets):
    place = made.getsockname()
    print("passed", name, place if isinstance(place, str) else "%s:%d" % place[:2], file=sys.stderr)
sys.stderr.flush()

# First out of the way, then to their places.
copies = [fcntl.fcntl(made.fileno(), fcntl.F_DUPFD, 100) for made in sockets]
for number, copy in enumerate(copies):
    os.dup2(copy, 3 + number)
    os.close(copy)

os.environ.setdefault("LISTEN_PID", str(os.getpid()))
os.environ.setdefault("LISTEN_FDS", str(len(sockets)))
if os.environ.setdefault("LISTEN_FDNAMES", ":".join(names)) == "none":
    del os.environ["LISTEN_FDNAMES"]
program = sys.argv[end + 1:]
os.execv(program[0], program)
