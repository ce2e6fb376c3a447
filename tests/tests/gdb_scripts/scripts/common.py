"""What the scripts share: they run inside gdb, against an emulator that stands at its first instruction."""

import os

import gdb

gdb.execute("set confirm off")
gdb.execute("set pagination off")


def run(command):
    """A command of gdb, and what it printed."""
    return gdb.execute(command, to_string=True)


def monitor(command):
    return run("monitor " + command)


def go():
    """Lets the guest go on until it stops; what emu said about it."""
    events.clear()
    return run("continue")


def value(expression):
    """An unsigned number, of the size that gdb gives it."""
    found = gdb.parse_and_eval(expression)
    return int(found) & ((1 << 8 * found.type.sizeof) - 1)


def memory(address, length):
    return bytes(gdb.selected_inferior().read_memory(address, length))


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def equal(found, expected, what):
    check(found == expected, "%s: %r, expected %r" % (what, found, expected))


# Why gdb stopped last: it tells that by events, not as the output of a command.
events = []
gdb.events.stop.connect(events.append)


def stopped_by(kind):
    """The last stop was by a break-point or watch-point of this type."""
    last = events[-1] if events else None
    return isinstance(last, gdb.BreakpointEvent) and last.breakpoints[0].type == kind


run("target remote " + os.environ["EMU_GDB"])
