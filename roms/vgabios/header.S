/* The option ROM's header, and its initialisation.
 *
 * PCI Firmware 3.0, "PCI Expansion ROM Contents": 55h AAh, size in half KiB, entry at 3, and at 18h the
 * pointer to the PCI data structure, which names the adapter: 1234h:1111h, class 03h.
 * In (entry, far call): AX = the adapter's bus, device, function. Out: INT 10h is ours, mode 3 is set.
 * Keeps every register.
 */
#include "common.inc"
#include "vga.inc"

    .section .header, "ax"
    .global rom_header
rom_header:
    .byte 0x55, 0xAA
    .byte 0                             // size, filled in by the builder
    jmp initialise
    .org rom_header + 0x18
    .word pci_data
    .word 0
pci_data:
    .ascii "PCIR"
    .word 0x1234, 0x1111                // vendor, device
    .word 0                             // no vital product data
    .word pci_data_end - pci_data
    .byte 0                             // revision of this structure
    .byte 0x00, 0x00, 0x03              // class: VGA-compatible display
    .word 0                             // image size in half KiB, filled in by the builder
    .word 1                             // revision of the code
    .byte 0                             // code for the PC AT
    .byte 0x80                          // the last image
    .word 0
pci_data_end:
    .asciz "emu VGA BIOS " VERSION

    .text
.macro SET_VECTOR number, target
    mov word ptr es:[\number * 4], offset \target
    mov word ptr es:[\number * 4 + 2], cs
.endm

initialise:
    pushf
    cli
    cld
    pushad
    push ds
    push es
    push fs
    mov bp, sp
    push BDA_SEG
    pop ds
    xor ax, ax
    mov es, ax
    SET_VECTOR 0x10, int10
    SET_VECTOR 0x1D, parameters
    SET_VECTOR 0x1F, font_8x8+128*8
    SET_VECTOR 0x43, font_8x16
    and word ptr ds:[BDA_EQUIPMENT], ~0x30
    or word ptr ds:[BDA_EQUIPMENT], 0x20           // 80 columns, colour
    mov byte ptr ds:[BDA_VIDEO_CTL], 0x60           // 256 KiB, colour
    mov byte ptr ds:[BDA_SWITCHES], 0xF9
    mov byte ptr ds:[BDA_VGA_FLAGS], 0x11           // VGA, 400 lines
    mov byte ptr ds:[BDA_DCC_INDEX], 0x01
    mov word ptr ds:[BDA_SAVE_TABLE], offset save_table
    mov ds:[BDA_SAVE_TABLE + 2], cs
    mov ax, 0x0003
    int 0x10
    pop fs
    pop es
    pop ds
    popad
    popf
    retf

/* IBM's save pointer tables: the parameter table, and the display combinations that are known. */
    .balign 4
save_table:
    .word parameters, VGA_BIOS_SEG
    .long 0, 0, 0
    .word secondary_table, VGA_BIOS_SEG
    .long 0, 0
secondary_table:
    .word 26
    .word combinations, VGA_BIOS_SEG
    .long 0, 0, 0, 0, 0
combinations:
    .byte 2, 1, 8, 0                    // entries, version, highest code, reserved
    .byte 0, 0,  0, 8                   // none; VGA with colour display
