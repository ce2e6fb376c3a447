"""A triple fault: gdb is told before the machine resets, and `why` explains it."""

from common import *

# The shell waits in long mode; its interrupt gates are overwritten, and then nothing is where RIP points.
run("hbreak *0x400000")
go()
run("delete")
base = value("$idtr_base")
limit = value("$idtr_limit")
gdb.selected_inferior().write_memory(base, bytes(limit + 1))
run("set $pc = 0x123456789000")
out = go()
check("triple fault" in out, out)
equal(events[-1].stop_signal, "SIGSEGV", "signal")
why = monitor("why")
check("has shut down" in why, why)
check("#PF" in why and "#DF" in why, why)
check("the P flag is 0 in the" in why, why)
check("instruction fetch at linear address 0x123456789000" in why, why)
check("of the IDT" in why and "the entry is no interrupt, trap or task gate" in why, why)
# Going on, the machine resets, which ends this run (--no-reboot).
exits = []
gdb.events.exited.connect(lambda event: exits.append(event.exit_code))
run("continue")
equal(exits, [3], "exit code")
print("PASSED")
