"""The BIOS in real mode: where CS:IP is, what bytes are there, and what they mean."""

from common import *

run("source " + os.environ["EMU_GDB_HELP"])

equal(value("$cs"), 0xF000, "CS after reset")
equal(value("$ip"), 0xFFF0, "IP after reset")
equal(value("$pc"), 0xFFFFFFF0, "$pc is linear")
equal(value("$cs_base"), 0xFFFF0000, "base of CS")
equal(value("$code_bits"), 16, "code")

# EA: far jump with a 16-bit offset, which 64-bit code does not have.
code = memory(0xFFFFFFF0, 5)
equal(code[0], 0xEA, "opcode at the reset vector")
offset, segment = code[1] | code[2] << 8, code[3] | code[4] << 8
shown = run("x/i $pc")
check("jmp" in shown and "bad" not in shown, "x/i shows real-mode code: " + shown)
check("f000:fff0" in run("cs-ip"), "cs-ip")

run("stepi")
equal(value("$cs"), segment, "CS behind the jump")
equal(value("$ip"), offset, "IP behind the jump")
equal(value("$pc"), segment * 16 + offset, "linear")

# Steps and the emulator's own disassembly agree on where instructions end.
for _ in range(200):
    line = monitor("disas cs:ip 1")
    length = len(line.strip().split("  ", 1)[1].split()[0]) // 2
    before = value("$pc")
    run("stepi")
    moved = value("$pc") - before
    jumps = any(word in line for word in (" j", "call", "ret", "int", "loop", "rep"))
    check(moved == length or jumps, "%s moved by %d" % (line.strip(), moved))

# The boot sector, by a hardware break-point and by seg:off.
run("hbreak *0x7c00")
go()
equal(value("$pc"), 0x7C00, "boot sector")
equal(memory(0x7DFE, 2), b"\x55\xaa", "its signature")
equal(value("$dl"), 0x80, "drive number")
run("delete")
check("0000:7c00" in monitor("disas"), "the monitor shows seg:off")
monitor("break 0:%x if ip == 0x%x" % (value("$ip"), value("$ip")))
check("met 0 times" in monitor("points"), "points")
print("PASSED")
run("kill")
