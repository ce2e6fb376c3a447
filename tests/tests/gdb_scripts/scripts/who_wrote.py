"""A corruption of the kernel's memory is planted; afterwards the trace of the run names who did it."""

import re
import subprocess

from common import *

run("symbol-file " + os.environ["EMU_KERNEL_ELF"])
victim = value("(unsigned long)&PROCESSORS_SUM")
culprit = int(re.search("0x[0-9a-f]+", run("info functions rust_begin_unwind")).group(), 16)
entry = value("(unsigned long)&syscall_entry")

# In the middle of the session one system call strays into the panic handler, where these bytes lie now:
# mov dword [PROCESSORS_SUM], 0BADC0DEh; jmp syscall_entry
run("break *syscall_entry if $rax == 7 && $rsi == 5")
go()
check(stopped_by(gdb.BP_BREAKPOINT), "the break-point stops")
run("delete")
equal(value("*(unsigned int *)%d" % victim), 0, "the cell before")
code = b"\xc7\x04\x25" + (victim & 0xffffffff).to_bytes(4, "little") + (0xbadc0de).to_bytes(4, "little")
back = entry - (culprit + len(code) + 5)
code += b"\xe9" + (back & 0xffffffff).to_bytes(4, "little")
gdb.selected_inferior().write_memory(culprit, code)
run("set $pc = %d" % culprit)

# Much later somebody notices.
run("break *syscall_entry if $rax == 7 && $rsi == 20")
go()
equal(value("*(unsigned int *)%d" % victim), 0xbadc0de, "the cell after")
run("kill")


def trace(*words):
    command = [os.environ["EMU"], "trace", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    equal(done.returncode, 0, done.stderr)
    return done.stdout


file, symbols = os.environ["EMU_TRACE"], "--symbols=" + os.environ["EMU_KERNEL_ELF"]
wrote = trace("who-wrote", file, hex(victim), symbols)
check("begin_unwind" in wrote and "%x" % culprit in wrote and "0xbadc0de" in wrote, wrote)
equal(len(wrote.splitlines()), 1, wrote)
# What came before it shows the way there: a system call of the user's.
count = int(wrote.split()[0])
before = trace("show", file, "--from", str(count - 1), "--to", str(count), symbols)
check("syscall" in before.splitlines()[0], before)
print("PASSED")
