"""A memory corruption that is planted in the bundled kernel (the shell's `oops`), found from where the kernel dies of it:
the debugger says at which address, the trace says who wrote what lies there."""

import re
import subprocess

from common import *

KERNEL = os.environ["EMU_KERNEL_ELF"]
TRACE = os.environ["EMU_TRACE_FILE"]


def ask(what, *arguments):
    """`emu trace` with the kernel's symbols."""
    command = [os.environ["EMU_BINARY"], "trace", what, TRACE, *arguments, "--symbols", KERNEL]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


run("symbol-file " + KERNEL)
# Where the kernel panics, whatever the reason.
run("break *oops_look_into")
go()
run("delete")
monitor("catch exception #PF if cpl == 0")
out = go()
check("exception #PF" in out, out)
here = run("info symbol $pc")
check("oops_look_into" in here, "it dies there: " + here)
why = monitor("why")
check("supervisor-mode read" in why and "the P flag is 0" in why, why)
address = int(re.search(r"linear address (0x[0-9a-f]+)", why).group(1), 16)
equal(address, 0xFFFFFFFF646E6120, "the address is half an address and half a word: 'and' with a space")

# The trace is still being written; this has everything so far on the disk.
written = monitor("trace")
check("written up to count" in written, written)
count = int(written.split()[-1])

# The register that held the address was loaded from the drawer: where is that?
faulting = run("x/i $pc")
register = re.search(r"\[(r\w+)\]|\(%(r\w+)\)", faulting)
register = register.group(1) or register.group(2)
equal(value("$" + register), address, faulting)
loaded = ask("last-value", register)
check(loaded.startswith("%s = %#x\n" % (register, address)), loaded)
drawer = int(re.search(r"\[([0-9a-f]+)\]->%x" % address, loaded).group(1), 16)

# Who wrote there last: not the one that put the address there, but the one that wrote a label.
last = ask("who-wrote", hex(drawer), "--before", str(count))
check("oops_write_label" in last, last)
equal(len(last.splitlines()), 1, "one line")
check("<-20" in last, "it wrote a space: " + last)
writes = ask("who-wrote", hex(drawer), "--size", "8", "--all").splitlines()
names = ["oops_write_label" in line for line in writes]
equal(names[-4:], [True] * 4, "the last four bytes: " + "\n".join(writes[-6:]))
check(not names[-5], "before that the address was good: " + writes[-5])

# The call that did it, and with what.
when = int(last.split()[0])
calls = ask("calls", "--from", str(when - 2000), "--to", str(when))
check("oops_write_label" in calls, calls)
print("PASSED")
run("kill")
