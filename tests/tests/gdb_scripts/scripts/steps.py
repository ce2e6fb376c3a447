"""Single steps over repeated instructions, a privileged switch of modes and the way to virtual-8086 mode."""

from common import *

run("hbreak *0x7c00")
go()
run("delete")


def put(address, code):
    gdb.selected_inferior().write_memory(address, bytes.fromhex(code))


def at(ip, cs, base, bits, level):
    """Where the processor stands, and in what mode."""
    found = tuple(value("$" + name) for name in ("ip", "cs", "pc", "code_bits", "cpl"))
    equal(found, (ip, cs, base + ip, bits, level), "(ip, cs, pc, bits, level)")


# cld; mov cx, 3; mov si, 7C00h; mov di, 9000h; rep movsb; mov cx, 0; rep movsb; nop
put(0x7C00, "fcb90300be007cbf0090f3a4b90000f3a490")
for ip in (0x7C01, 0x7C04, 0x7C07, 0x7C0A):
    run("stepi")
    at(ip, 0, 0, 16, 0)
for left in (2, 1, 0):
    run("stepi")
    equal(value("$cx"), left, "rounds left")
    at(0x7C0C if left == 0 else 0x7C0A, 0, 0, 16, 0)
equal(memory(0x9000, 3), bytes.fromhex("fcb903"), "what was copied")
run("stepi")
run("stepi")
at(0x7C11, 0, 0, 16, 0)
# The whole instruction at once, as a user would.
put(0x7C20, "b90500f3aa90")
run("set $pc = 0x7c20")
run("stepi")
run("until *0x7c25")
at(0x7C25, 0, 0, 16, 0)
equal(value("$cx"), 0, "rounds left")

# cli; xor ax, ax; mov ds, ax; lgdt [7C58h]; mov eax, cr0; or al, 1; mov cr0, eax; jmp 8:7C17h
# mov ax, 10h; mov ss, ax; mov esp, 9000h; mov ds, ax; mov cx, 0; lldt cx; push 50h (GS), 40h, 30h, 20h, 60h (SS),
# 1000h, 23002h (EFLAGS with VM), 7C0h (CS), 4Ah; iretd
# mov ax, 1234h; push ax; mov es, ax; nop; GDTR's image at 58h; the GDT: null, flat code, flat data
put(0x7C00, "fa31c08ed80f0116587c0f20c00c010f22c0ea177c0800"
    "66b810008ed0bc009000008ed866b900000f00d16a506a406a306a206a606800100000680230020068c0070000684a000000cf"
    "b83412508ec0908db400008d74001700607c00006690"
    "0000000000000000ffff0000009bcf00ffff00000093cf00")
run("set $pc = 0x7c00")
for ip in (0x7C01, 0x7C03, 0x7C05, 0x7C0A, 0x7C0D, 0x7C0F, 0x7C12):
    run("stepi")
    at(ip, 0, 0, 16, 0)
equal(value("$cr0") & 1, 1, "CR0.PE")
run("stepi")
at(0x7C17, 8, 0, 32, 0)
for ip in (0x7C1B, 0x7C1D, 0x7C22, 0x7C24, 0x7C28, 0x7C2B):
    run("stepi")
    at(ip, 8, 0, 32, 0)
equal(value("$ss_limit"), 0xFFFFFFFF, "limit of SS")

# Segments of protected mode, with what their descriptors say.
run("set $es = 16")
equal(value("$es_limit"), 0xFFFFFFFF, "limit of ES")
for wrong in ("$es = 0x999", "$ss = 8", "$cs = 16", "$tr = 16", "$ldtr = 8"):
    try:
        run("set " + wrong)
        raise AssertionError("accepted: " + wrong)
    except gdb.error:
        pass
equal((value("$es"), value("$ss"), value("$cs")), (16, 16, 8), "the selectors are still the same")

for ip in (0x7C2D, 0x7C2F, 0x7C31, 0x7C33, 0x7C35, 0x7C3A, 0x7C3F, 0x7C44, 0x7C49):
    run("stepi")
    at(ip, 8, 0, 32, 0)
run("stepi")
at(0x4A, 0x7C0, 0x7C00, 16, 3)
check(value("$eflags") & 0x20000, "EFLAGS.VM")
for name, selector in (("ss", 0x60), ("es", 0x20), ("ds", 0x30), ("fs", 0x40), ("gs", 0x50)):
    equal((value("$" + name), value("$%s_base" % name)), (selector, selector << 4), name)
run("set $ds = 0x55")
equal(value("$ds_base"), 0x550, "base of DS")
try:
    run("set $eflags = 2")
    raise AssertionError("gdb alone cannot leave virtual-8086 mode")
except gdb.error:
    pass
for ip in (0x4D, 0x4E, 0x50, 0x51):
    run("stepi")
    at(ip, 0x7C0, 0x7C00, 16, 3)
equal(memory(0x600 + 0xFFE, 2), b"\x34\x12", "what was pushed")
equal(value("$es_base"), 0x12340, "base of ES")
print("PASSED")
run("kill")
