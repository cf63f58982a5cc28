"""handover.py MODE ADDRESS: an HTTP server whose connection changes hands between two requests.

ADDRESS is a port of 127.0.0.1 or the path of a Unix socket. Each response's content is the id of the process that
served it. MODE:
  dup   the second request is served on a duplicate of the descriptor, the first one closed
  fork  the second request is served by a child that inherited the connection
  pass  the second request is served by a process that was there before, to which the descriptor is passed
  exec  the second request is served by another program, which inherited the descriptor
  serve FD  (internal) serves one request on an inherited descriptor
"""

import array
import os
import socket
import sys


def serve(fd):
    head = b""
    while b"\r\n\r\n" not in head:
        data = os.read(fd, 4096)
        if not data:
            return False
        head += data
    body = str(os.getpid()).encode()
    os.write(fd, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    return True


def serve_all(fd):
    while serve(fd):
        pass
    os.close(fd)


def passed(channel):
    _, ancillary, _, _ = channel.recvmsg(1, socket.CMSG_LEN(4))
    serve_all(array.array("i", ancillary[0][2])[0])


def main():
    mode, address = sys.argv[1:]
    if mode == "serve":
        return serve_all(int(address))
    if address.isdigit():
        listener = socket.create_server(("127.0.0.1", int(address)))
    else:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(address)
        listener.listen()
    other = None
    if mode == "pass":
        ours, theirs = socket.socketpair()
        other = os.fork()
        if other == 0:
            ours.close()
            listener.close()
            passed(theirs)
            os._exit(0)
    print("listening", other or "", flush=True)
    connection, _ = listener.accept()
    fd = connection.detach()
    serve(fd)
    if mode == "dup":
        copy = os.dup(fd)
        os.close(fd)
        serve_all(copy)
    elif mode == "fork":
        child = os.fork()
        if child == 0:
            serve_all(fd)
            os._exit(0)
        os.close(fd)
        os.waitpid(child, 0)
    elif mode == "pass":
        ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
        os.close(fd)
        os.waitpid(other, 0)
    elif mode == "exec":
        child = os.fork()
        if child == 0:
            os.set_inheritable(fd, True)
            os.execv(sys.executable, [sys.executable, __file__, "serve", str(fd)])
        os.close(fd)
        os.waitpid(child, 0)


main()
