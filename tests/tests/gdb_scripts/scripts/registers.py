"""Registers and memory that gdb changes: they read back, and the guest computes with them. Processors are threads."""

from common import *

run("hbreak *0x7c00")
go()
run("delete")


def change(name, text, expected=None):
    run("set $%s = %s" % (name, text))
    run("maintenance flush register-cache")
    shown = expected if expected is not None else int(text, 0)
    equal(value("$" + name), shown & (1 << 8 * gdb.parse_and_eval("$" + name).type.sizeof) - 1, name)


def refused(command):
    try:
        run("set " + command)
    except gdb.error:
        return
    raise AssertionError("accepted: " + command)


NUMBERS = (
    ("rax", "0x1122334455667788"), ("eax", "0x99aabbcc"), ("ax", "0x1234"), ("al", "0x56"), ("ah", "0x78"),
    ("r8", "5"), ("r9d", "7"), ("r15", "-1"), ("rsp", "0x7000"), ("ip", "0x7c10"), ("pc", "0x7c00"),
    ("eflags", "0x246"), ("ds", "0x123"), ("fs", "0x50"), ("gs", "0x60"), ("fs_base", "0x1000"), ("ds", "0"),
    ("es_base", "0x5000"), ("es_limit", "0xfff"), ("es_limit", "0xffff"), ("k_gs_base", "0x3000"),
    ("gdtr_base", "0x9000"), ("gdtr_limit", "0x17"), ("idtr_limit", "0x3ff"),
    ("fctrl", "0x27f"), ("fiseg", "1"), ("fioff", "2"), ("foseg", "3"), ("fooff", "4"),
    ("fop", "5"), ("cr2", "0x1234"), ("cr3", "0x5000"), ("cr8", "3"), ("efer", "1"),
    ("dr0", "0x400"), ("dr7", "0x401"), ("dr7", "0x400"),
)
for name, text in NUMBERS:
    change(name, text)
# The summary of errors, of which none is unmasked; the tag of a zero; bits of MXCSR that do not exist.
change("fstat", "0xffff", 0x7F7F)
change("fstat", "0", 0)
change("ftag", "0xfffc", 0xFFFD)
change("mxcsr", "0xffff1fa0", 0x1FA0)
change("mxcsr", "0x1f80")
for command in ("$cr8 = 16", "$cr0 = 0x80000000", "$cr4 = 0x80000000", "$es_limit = 0x100000", "$cpl = 3", "$tr = 8",
                "$eflags = 0x20002", "$gdtr_base = 0x8000000000000000", "$gdtr_limit = 0x10000"):
    refused(command)

# fst qword [9000h]; movups [9010h], xmm1; sbb ax, ax; mov [es:20h], al
gdb.selected_inferior().write_memory(0x7C00, bytes.fromhex("dd1600900f110e109019c026a22000"))
run("set $es_base = 0x9000")
run("set $cr4 = $cr4 | 0x200")
run("set $st0 = -2.25")
run("set $xmm1.v4_float[2] = 2.5")
run("set $xmm1.v4_int32[0] = 77")
run("set $ymm1.v8_float[7] = 1.25")
run("set $eflags = $eflags | 1")
for _ in range(4):
    run("stepi")
equal(float(gdb.parse_and_eval("*(double *)0x9000")), -2.25, "ST(0) as the guest has it")
equal(float(gdb.parse_and_eval("*(float *)0x9018")), 2.5, "XMM1 as the guest has it")
equal(value("*(int *)0x9010"), 77, "its low part")
equal(float(gdb.parse_and_eval("$ymm1.v8_float[7]")), 1.25, "YMM1")
equal((value("$ax"), memory(0x9020, 1)), (0xFFFF, b"\xff"), "the carry flag and the base of ES as the guest has them")

# Memory across the end of a page, and what is no RAM.
run("set {unsigned long}0x9ffc = 0x1122334455667788")
equal(value("*(unsigned long *)0x9ffc"), 0x1122334455667788, "across a page")
for nowhere in ("0xf0000", "0xa0000", "0xfee00000"):
    refused("{int}%s = 5" % nowhere)

# The other processor, which waits for its start, has its own registers.
first = value("$rcx")
run("thread 2")
for name, text in (("rcx", "0x1234"), ("cr3", "0x6000"), ("ss", "0x77"), ("fctrl", "0x37f")):
    change(name, text)
change("cr0", "$cr0 | 2", value("$cr0") | 2)
refused("$cr0 = 0x80000000")
equal(value("$ss_base"), 0x770, "base of SS")
run("thread 1")
equal((value("$rcx"), value("$cr3")), (first, 0x5000), "the first processor's")
check("CPU 1" in run("info threads"), "threads are processors")
run("stepi")
equal(gdb.selected_thread().num, 1, "the thread that stepped")
print("PASSED")
run("kill")
