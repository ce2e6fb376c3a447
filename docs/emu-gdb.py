"""Help for gdb (13 or later, with Python) with 16-bit and 32-bit code on emu; see docs/debugging.md.

    gdb -x docs/emu-gdb.py -ex 'target remote :1234'

gdb takes the guest for an x86-64 program and would disassemble all code as 64-bit code. With this, `x/i`, `disassemble`
and `display/i $pc` show what the processor would run: in 16-bit and 32-bit code emu itself is asked.
`cs-ip` prints CS:IP and the next instruction.
"""

import gdb
import gdb.disassembler


def monitor(command):
    return gdb.execute("monitor " + command, to_string=True)


def code_bits():
    return int(gdb.parse_and_eval("$code_bits"))


class EmuDisassembler(gdb.disassembler.Disassembler):
    """Asks emu unless the code is 64-bit code, where gdb knows more (symbols)."""

    def __init__(self):
        super().__init__("emu")

    def __call__(self, info):
        try:
            if code_bits() == 64:
                return None
            line = monitor("disas %#x 1" % info.address)
        except (gdb.error, ValueError):
            return None
        fields = line.strip().split("  ", 1)
        if len(fields) < 2:
            return None
        code, text = fields[1].split(None, 1)
        return gdb.disassembler.DisassemblerResult(length=len(code) // 2, string=text.strip())


class CsIp(gdb.Command):
    """Prints CS:IP, the linear address and the next instruction."""

    def __init__(self):
        super().__init__("cs-ip", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        print(monitor("disas").splitlines()[0])


gdb.disassembler.register_disassembler(EmuDisassembler(), None)
CsIp()
