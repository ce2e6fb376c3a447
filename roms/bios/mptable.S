/* The MP configuration table: which processors and I/O APIC there are, and how interrupts reach it.
 *
 * MultiProcessor Specification 1.4, chapter 4. Built in POST, after pci_init, when the processor has a
 * local APIC. Found by its "_MP_" on a paragraph of the BIOS segment.
 * The processors' number is fw_cfg's item 5, else 1; their APIC ids count from 0. The timer, ISA IRQ 0, is
 * on input 2 of the I/O APIC, other ISA interrupts on the input of their number; PCI interrupts, and IRQ 9 of
 * power management, are level triggered and active high, as the board's PIRQ router drives them.
 * Left out: more than 16 processors, buses other than 0.
 */
#include "common.inc"

#define ENTRY_PROCESSOR 0
#define ENTRY_BUS       1
#define ENTRY_IO_APIC   2
#define ENTRY_INTERRUPT 3
#define ENTRY_LOCAL     4

#define TYPE_INT        0
#define TYPE_NMI        1
#define TYPE_EXTINT     3
#define BUS_DEFAULT     0x00
#define LEVEL_HIGH      0x0D

#define PCI_BUS         0
#define ISA_BUS         1
#define IO_APIC_ID      0               /* what the I/O APIC's ID register has after reset */
#define PROCESSORS_MAX  16
#define PCI_ENTRIES_MAX 40
#define ITEM_PROCESSORS 0x0005
#define HEADER_SIZE     44
#define COUNT_OFFSET    34
#define TABLE_MAX       (HEADER_SIZE + PROCESSORS_MAX * 20 + 3 * 8 + (15 + PCI_ENTRIES_MAX + 2) * 8)

    .global mptable_build

/* Clobbers everything but DS, SS:SP. */
mptable_build:
    call cpu_has_apic
    jc 9f
    push ds
    push cs
    pop ds
    push cs
    pop es
    mov word ptr ds:[mp_header + COUNT_OFFSET], 0
    mov word ptr ds:[pci_entries], PCI_ENTRIES_MAX
    mov di, offset mp_header + HEADER_SIZE
    call add_processors
    mov si, offset fixed_entries
    mov cx, 3
    call add_entries
    call add_isa
    mov ds:[mp_next], di
    xor bx, bx
    mov di, offset add_pci
    call pci_walk
    mov di, ds:[mp_next]
    mov si, offset local_entries
    mov cx, 2
    call add_entries

    mov cx, di
    sub cx, offset mp_header
    mov ds:[mp_header + 4], cx          // length
    mov byte ptr ds:[mp_header + 7], 0
    mov si, offset mp_header
    call sum
    mov ds:[mp_header + 7], al
    mov dword ptr ds:[mp_pointer], 0x5F504D5F       // "_MP_"
    mov byte ptr ds:[mp_pointer + 10], 0
    mov si, offset mp_pointer
    mov cx, 16
    call sum
    mov ds:[mp_pointer + 10], al
    pop ds
9:  ret

/* In: DS:SI, CX bytes. Out: AL = what makes them add up to zero. */
sum:
    xor al, al
1:  sub al, [si]
    inc si
    loop 1b
    ret

/* Copies CX entries of eight bytes from DS:SI. */
add_entries:
    add ds:[mp_header + COUNT_OFFSET], cx
    shl cx, 2
    rep movsw
    ret

add_processors:
    mov ax, ITEM_PROCESSORS
    call fw_cfg_item
    jc 1f
    test ax, ax
    jz 1f
    cmp ax, PROCESSORS_MAX
    jbe 2f
    mov ax, PROCESSORS_MAX
    jmp 2f
1:  mov ax, 1
2:  mov bp, ax
    push di
    mov eax, 1
    cpuid
    pop di
    mov esi, eax                        // signature
    mov ecx, edx                        // features
    xor bx, bx                          // APIC id
3:  mov al, ENTRY_PROCESSOR
    stosb
    mov al, bl
    stosb
    mov al, 0x14                        // version of the local APIC
    stosb
    mov al, 0x01                        // usable
    test bx, bx
    jnz 4f
    or al, 0x02                         // the one that runs POST
4:  stosb
    mov eax, esi
    stosd
    mov eax, ecx
    stosd
    xor eax, eax
    stosd
    stosd
    inc word ptr ds:[mp_header + COUNT_OFFSET]
    inc bx
    cmp bx, bp
    jb 3b
    ret

/* ISA interrupts 0-15, but for the cascade and the two that PCI has. */
add_isa:
    xor cl, cl
1:  cmp cl, 2
    je 3f
    cmp cl, 10
    je 3f
    cmp cl, 11
    je 3f
    mov ax, ENTRY_INTERRUPT | TYPE_INT << 8
    stosw
    mov ax, BUS_DEFAULT
    cmp cl, 9
    jne 2f
    mov ax, LEVEL_HIGH
2:  stosw
    mov al, ISA_BUS
    mov ah, cl
    stosw
    mov al, IO_APIC_ID
    mov ah, cl
    test cl, cl
    jnz 4f
    mov ah, 2                           // the timer
4:  stosw
    inc word ptr ds:[mp_header + COUNT_OFFSET]
3:  inc cl
    cmp cl, 16
    jb 1b
    ret

/* For pci_walk: one entry for a function with an interrupt pin. DS = ES = the BIOS segment. */
add_pci:
    mov di, 0x3C
    call pci_read16                     // AL = line, AH = pin
    test ah, ah
    jz 9f
    cmp al, 9
    je 9f                               // wired as an ISA interrupt
    cmp word ptr ds:[pci_entries], 0
    je 9f
    dec word ptr ds:[pci_entries]
    mov cx, ax
    mov di, ds:[mp_next]
    mov ax, ENTRY_INTERRUPT | TYPE_INT << 8
    stosw
    mov ax, LEVEL_HIGH
    stosw
    mov al, bl                          // slot in bits 6:2, pin in 1:0
    shr al, 3
    shl al, 2
    dec ch
    or al, ch
    mov ah, al
    mov al, PCI_BUS
    stosw
    mov al, IO_APIC_ID
    mov ah, cl
    stosw
    mov ds:[mp_next], di
    inc word ptr ds:[mp_header + COUNT_OFFSET]
9:  clc
    ret

fixed_entries:
    .byte ENTRY_BUS, PCI_BUS
    .ascii "PCI   "
    .byte ENTRY_BUS, ISA_BUS
    .ascii "ISA   "
    .byte ENTRY_IO_APIC, IO_APIC_ID, 0x11, 1
    .long 0xFEC00000
local_entries:
    .byte ENTRY_LOCAL, TYPE_EXTINT, BUS_DEFAULT, 0, ISA_BUS, 0, 0x00, 0     // LINT0 of processor 0
    .byte ENTRY_LOCAL, TYPE_NMI, BUS_DEFAULT, 0, ISA_BUS, 0, 0xFF, 1        // LINT1 of all

mp_next:     .word 0
pci_entries: .word 0

    .balign 16
mp_pointer:
    .long 0                             // the signature, when the table is there
    .long (BIOS_SEG << 4) + mp_header
    .byte 1, 4                          // length in paragraphs, revision
    .byte 0                             // checksum
    .byte 0, 0                          // a table; virtual wire mode, not PIC mode
    .byte 0, 0, 0
mp_header:
    .ascii "PCMP"
    .word 0                             // length
    .byte 4, 0                          // revision, checksum
    .ascii "EMU     "
    .ascii "PC          "
    .long 0
    .word 0
    .word 0                             // entries
    .long 0xFEE00000
    .long 0
    .skip TABLE_MAX - HEADER_SIZE
