/* Shadowing: the BIOS and the VGA BIOS move from ROM into RAM at the same addresses.
 *
 * i440FX sheet (82441FX), "PAM[6:0]": each nibble gives a range of the first megabyte Read Enable
 * (bit 0) and Write Enable (bit 1) to DRAM; with both clear accesses go to the PCI bus, where the
 * ROM is. While DRAM is being filled, the code runs from the ROM's home just below 4 GiB, since the
 * alias below 1 MiB has gone: hence protected mode with a code segment based at FFFF0000h.
 *
 * Out: F0000h-FFFFFh and C0000h-C7FFFh are RAM, filled from ROM, and writable until shadow_protect.
 * C8000h-DFFFFh stay on the bus, for expansion ROMs; E0000h-EFFFFh stay ROM. The local APIC, which
 * lies above 1 MiB too, is set up in passing. In: SS = 0.
 * Clobbers EAX, EBX, ECX, EDX, ESI, EDI, ES.
 */
#include "common.inc"

#define PAM_DWORD   0x80000058          /* configuration dword with PAM0 in byte 1 and PAM1 in byte 2 */
#define READ_WRITE  3
#define READ_ONLY   1

#define ROM_TOP_CS  0x08
#define LOW_CS      0x10
#define FLAT_DATA   0x18
#define REAL_DATA   0x20
#define BIOS_DATA   0x28

/* Clobbers EAX, DX. */
.macro SET_PAM access
    mov eax, PAM_DWORD
    mov dx, PCI_ADDRESS
    out dx, eax
    mov dx, PCI_DATA + 1
    mov al, \access << 4               // PAM0: F0000h-FFFFFh
    out dx, al
    inc dx
    mov al, \access * 0x11             // PAM1: C0000h-C3FFFh and C4000h-C7FFFh
    out dx, al
.endm

    .global shadow_enable, shadow_protect, flat_enter, flat_leave
shadow_enable:
    push ds
    lgdt cs:[gdt_pointer]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    FAR_JUMP ROM_TOP_CS, 1f
1:  mov ax, FLAT_DATA
    mov ds, ax
    mov es, ax
    SET_PAM READ_WRITE
    mov esi, 0xFFFF0000
    mov edi, 0x000F0000
    mov ecx, 0x10000 / 4
    rep movsd [edi], [esi]
    mov esi, 0xFFFE0000
    mov edi, 0x000C0000
    mov ecx, 0x8000 / 4
    rep movsd [edi], [esi]
    FAR_JUMP LOW_CS, 2f
2:  mov ax, REAL_DATA
    mov ss, ax                          // same base as before, now with a stack to call on
    call local_apic_init                // wants the flat DS
    mov ax, REAL_DATA                   // 64 KiB limits again before real mode
    mov ds, ax
    mov es, ax
    mov eax, cr0
    and al, 0xFE
    mov cr0, eax
    FAR_JUMP BIOS_SEG, 3f
3:  xor ax, ax
    mov ss, ax
    pop ds
    push ds
    pop es
    ret

/* Both copies become read-only. Clobbers EAX, DX. */
shadow_protect:
    SET_PAM READ_ONLY
    ret

/* To and from protected mode, for those who need more than the first megabyte. In: interrupts off, SS = 0.
 * Inside, DS and ES are flat, FS is the BIOS segment, SS:SP as before. They clobber EAX; segment registers
 * other than SS are the caller's to keep. */
flat_enter:
    lgdt cs:[gdt_pointer]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    FAR_JUMP LOW_CS, 1f
1:  mov ax, FLAT_DATA
    mov ds, ax
    mov es, ax
    mov ax, REAL_DATA
    mov ss, ax
    mov ax, BIOS_DATA
    mov fs, ax
    ret
flat_leave:
    mov ax, REAL_DATA                   // 64 KiB limits again before real mode
    mov ds, ax
    mov es, ax
    mov eax, cr0
    and al, 0xFE
    mov cr0, eax
    FAR_JUMP BIOS_SEG, 1f
1:  xor ax, ax
    mov ss, ax
    ret

    .balign 8
gdt:
    .quad 0
    .quad 0xFF009BFF0000FFFF            // ROM_TOP_CS: base FFFF0000h, limit FFFFh, 16-bit code
    .quad 0x00009B0F0000FFFF            // LOW_CS: base 000F0000h
    .quad 0x00CF93000000FFFF            // FLAT_DATA: base 0, limit 4 GiB
    .quad 0x000093000000FFFF            // REAL_DATA: base 0, limit FFFFh
    .quad 0x0000930F0000FFFF            // BIOS_DATA: base 000F0000h, limit FFFFh
gdt_pointer:
    .word . - gdt - 1
    .long 0xF0000 + gdt
