"""From real mode through protected mode to long mode, by single steps where it happens; gdb never loses its way."""

from common import *

run("hbreak *0x7c00")
go()
run("delete")
seen = [value("$code_bits")]
tables = set()


def look():
    """What a user does at each stop."""
    shown = run("info registers")
    for name in ("rip", "gs_base", "cr0", "cr3", "efer", "gdtr_base", "idtr_limit", "tr", "dr7", "cpl"):
        check("\n" + name + " " in "\n" + shown, "info registers shows " + name)
    memory(value("$pc"), 1)
    if value("$code_bits") != seen[-1]:
        seen.append(value("$code_bits"))
        tables.add((value("$cr0") & 0x80000001, value("$efer") >> 10 & 1, value("$code_bits")))


def step_until(bits, most):
    for _ in range(most):
        look()
        if seen[-1] == bits:
            return
        run("stepi")
    raise AssertionError("no %d-bit code in %d steps" % (bits, most))


# Protected mode: where CR0.PE changes. A far jump follows soon.
monitor("catch mode")
out = go()
check("protection on" in out, out)
equal(value("$cr0") & 1, 1, "CR0.PE")
monitor("delete all")
step_until(32, 3000)
check("32-bit code" in monitor("gdt"), "the GDT has 32-bit code")

# Long mode: from the write to EFER on, one by one.
monitor("delete all")
monitor("catch msr 0xc0000080")
for _ in range(8):
    out = go()
    if value("$efer") & 0x100:
        break
check("MSR 0xc0000080" in out or value("$efer") & 0x100, out)
monitor("delete all")
step_until(64, 2000)
check(value("$efer") & 0x500 == 0x500, "long mode is active")
check(value("$cr0") & 0x80000001 == 0x80000001, "paging")
walk = monitor("walk rip")
check("PML4E" in walk and "physical" in walk, walk)
check("64-bit code" in monitor("gdt"), "the GDT has 64-bit code")
check("x" in monitor("maps"), "something can be executed")
equal(seen[-1], 64, "code")
print("PASSED")
run("kill")
