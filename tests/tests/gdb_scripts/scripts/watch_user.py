"""A watch-point and a conditional break-point in a user process of the bundled kernel, with the kernel's symbols."""

from common import *

run("symbol-file " + os.environ["EMU_KERNEL_ELF"])

# User programs begin at 4 MiB; the kernel maps and loads them when the shell starts one.
run("hbreak *0x400000")
run("continue")
equal(value("$pc"), 0x400000, "the program's first instruction")
equal(value("$cpl"), 3, "in user mode")
equal(value("$code_bits"), 64, "64-bit code")
run("delete")

# Its stack: whoever writes there next is the process itself.
top = value("$rsp")
run("set can-use-hw-watchpoints 1")
run("watch *(unsigned long *)%d" % (top - 8))
go()
check(stopped_by(gdb.BP_HARDWARE_WATCHPOINT), "the watch-point stops")
equal(value("$cpl"), 3, "the process wrote it")
equal(value("*(unsigned long *)%d" % (top - 8)), 0x400005, "the return address of the first call")
page = monitor("walk %#x" % (top - 8))
check("uw" in page, "a page of the user's: " + page)
run("delete")

# The whole stack page by its physical address.
physical = int(page.split("physical ")[1].split(",")[0], 16) & ~0xfff
monitor("watch p:%#x 0x1000" % physical)
out = go()
check("emu: point" in out and "(physical %#x" % (physical >> 12) in out, out)
monitor("delete all")

# A condition that is decided in the emulator: the system call NOTE (7) that tells of the fifth prime.
run("break *syscall_entry if $rax == 7 && $rsi == 5")
go()
check(stopped_by(gdb.BP_BREAKPOINT), "the break-point stops")
equal((value("$rax"), value("$rsi")), (7, 5), "the condition holds")
equal(value("$cpl"), 0, "in the kernel now")
print("PASSED")
run("kill")
