#!/usr/bin/python3
"""Runs a command that may not make a system call: io_uring as in a container with the usual seccomp profile, Landlock as in a kernel without it.

    deny_system_call.py [setup|enter|register|landlock|capset] COMMAND ARGUMENT...

One call, io_uring_setup(2) unless another is named, fails with EPERM in it and in all that it starts; see seccomp(2).
"""
import ctypes
import errno
import os
import struct
import sys

PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
CALLS = {"setup": 425, "enter": 426, "register": 427, "landlock": 444,  # the same numbers on all architectures
         "capset": 126 if os.uname().machine == "x86_64" else 91}
LOAD_SYSCALL_NUMBER, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, FAIL = 0x7FFF0000, 0x00050000


def main():
    command = sys.argv[1:]
    denied = CALLS[command.pop(0)] if command[0] in CALLS else CALLS["setup"]
    instructions = [
        (LOAD_SYSCALL_NUMBER, 0, 0, 0),
        (JUMP_IF_EQUAL, 0, 1, denied),
        (RETURN, 0, 0, FAIL | errno.EPERM),
        (RETURN, 0, 0, ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *i) for i in instructions))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(instructions), ctypes.addressof(code)))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int] + 4 * [ctypes.c_ulong]
    if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program), 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
