/* PCI: configuration access, and POST's assignment of addresses and interrupts on bus 0.
 *
 * PCI Local Bus 2.1, "Configuration Mechanism #1"; 82371AB/82371SB sheets for the board's own chips.
 * I/O bases are handed out upwards from C000h, memory bases downwards from FEC00000h.
 * PIRQA-D go to IRQ 10, 10, 11, 11, level triggered. A device's pin p in slot s uses
 * PIRQ (s + p - 2) mod 4, pins counted from 1.
 * Left out: bridges to further buses, expansion ROM base registers.
 */
#include "common.inc"

#define REG_ID         0x00
#define REG_COMMAND    0x04
#define REG_CLASS      0x08
#define REG_HEADER     0x0C
#define REG_BAR0       0x10
#define REG_IRQ_LINE   0x3C

#define COMMAND_IO     0x0001
#define COMMAND_MEMORY 0x0002
#define COMMAND_MASTER 0x0004

#define IO_FIRST       0xC000
#define MEMORY_END     0xFEC00000
#define MEMORY_LOWEST  0xE0000000       /* RAM may reach up to here */

#define CLASS_DISPLAY  0x03
#define CLASS_IDE      0x0101

    .global pci_init, pci_walk, is_display, pci_last_bus
    .global pci_read8, pci_read16, pci_read32, pci_write8, pci_write16, pci_write32

/* Points the data port at a register.
 * In: BH = bus, BL = device << 3 | function, DI = register. Out: DX = the port for it.
 * Clobbers the upper half of EDX. */
pci_point:
    push eax
    movzx eax, bx
    shl eax, 8
    or eax, 0x80000000
    mov dx, di
    mov al, dl
    and al, 0xFC
    mov dx, PCI_ADDRESS
    out dx, eax
    mov dx, di
    and dx, 3
    add dx, PCI_DATA
    pop eax
    ret

/* In: BX, DI as above. Out: AL, AX or EAX. Clobbers DX. */
pci_read8:
    call pci_point
    in al, dx
    ret
pci_read16:
    call pci_point
    in ax, dx
    ret
pci_read32:
    call pci_point
    in eax, dx
    ret

/* In: BX, DI as above, value in CL, CX or ECX. Clobbers EAX, DX. */
pci_write8:
    call pci_point
    mov al, cl
    out dx, al
    ret
pci_write16:
    call pci_point
    mov ax, cx
    out dx, ax
    ret
pci_write32:
    call pci_point
    mov eax, ecx
    out dx, eax
    ret

/* Calls CS:DI for each function of bus 0, from BX on (0 for all), with BX = the function and
 * EAX = its vendor and device; stops when it sets CF. Out: CF set when stopped, BX = where.
 * The callee keeps BX, SI and BP; EAX, ECX, EDX and DI are free. */
pci_walk:
    push si
    mov si, di
1:  mov di, REG_ID
    call pci_read32
    cmp ax, 0xFFFF
    je 3f
    call si
    jc 5f
    test bl, 7
    jnz 4f
    mov di, REG_HEADER + 2
    call pci_read8
    test al, 0x80                       // more than one function?
    jnz 4f
2:  add bl, 8                           // next device
    jc 6f
    jmp 1b
3:  test bl, 7
    jz 2b                               // no function 0, no device
4:  inc bl
    jnz 1b
6:  clc
5:  pop si
    ret

/* For pci_walk: stops at a display adapter. */
is_display:
    mov di, REG_CLASS + 3
    call pci_read8
    cmp al, CLASS_DISPLAY
    je 1f
    clc
    ret
1:  stc
    ret

/* Clobbers all but BP, SS:SP, DS, ES. */
pci_init:
    mov word ptr cs:[io_next], IO_FIRST
    mov dword ptr cs:[memory_next], MEMORY_END
    xor bx, bx
    mov di, offset set_up
    jmp pci_walk

/* For pci_walk: one function's base registers, interrupt and command register. */
set_up:
    push si
    push eax
    mov di, REG_COMMAND
    call pci_read16
    and ax, ~(COMMAND_IO | COMMAND_MEMORY)
    mov cx, ax
    call pci_write16
    mov di, REG_HEADER + 2
    call pci_read8
    and al, 0x7F
    jnz 7f                              // a bridge stays shut: its windows are not ours to place
    xor si, si
1:  call set_up_bar
    cmp si, 6
    jb 1b
    call set_up_irq
    mov di, REG_CLASS + 2
    call pci_read16
    mov cx, COMMAND_IO | COMMAND_MEMORY
    cmp ax, CLASS_IDE
    jne 3f
    or cx, COMMAND_MASTER
3:  mov di, REG_COMMAND
    call pci_read16
    or cx, ax
    call pci_write16
7:  pop eax
    mov si, offset chips
4:  cmp eax, cs:[si]
    je 5f
    add si, 6
    cmp si, offset chips_end
    jb 4b
    jmp 6f
5:  call word ptr cs:[si + 4]
6:  pop si
    clc
    ret

/* Sizes a base register and gives it an address.
 * In: BX = function, SI = number of the register. Out: SI = number of the next. */
set_up_bar:
    mov di, si
    shl di, 2
    add di, REG_BAR0
    inc si
    mov ecx, -1
    call pci_write32
    call pci_read32
    test eax, eax
    jz 9f
    test al, 1
    jnz 5f
    mov ecx, eax
    and cl, 0xF0
    neg ecx                             // size
    jz 9f
    mov edx, cs:[memory_next]
    sub edx, ecx
    jc 3f
    neg ecx
    and edx, ecx
    cmp edx, MEMORY_LOWEST
    jb 3f
    mov cs:[memory_next], edx
    mov ecx, edx
    jmp 4f
3:  xor ecx, ecx                        // no room: stays at 0, for the operating system to place
4:  push ax
    call pci_write32
    pop ax
    and al, 0x06
    cmp al, 0x04                        // a 64-bit base takes two registers
    jne 9f
    inc si
    add di, 4
    xor ecx, ecx
    jmp pci_write32
5:  mov cx, ax
    and cl, 0xFC
    neg cx                              // size
    jz 9f
    movzx edx, word ptr cs:[io_next]
    dec cx
    add dx, cx
    not cx
    and dx, cx                          // rounded up to the size
    neg cx
    add cx, dx
    mov cs:[io_next], cx
    mov ecx, edx
    jmp pci_write32
9:  ret

/* Interrupt line by slot and pin. */
set_up_irq:
    mov di, REG_IRQ_LINE + 1
    call pci_read8
    test al, al
    jz 1f
    mov cl, bl
    shr cl, 3
    add al, cl
    sub al, 2
    and al, 3
    mov di, offset pirq_table
    movzx cx, al
    add di, cx
    mov cl, cs:[di]
    mov di, REG_IRQ_LINE
    call pci_write8
1:  ret

pirq_table: .byte 10, 10, 11, 11

chips:
    .long 0x70008086
    .word piix3_isa
    .long 0x70108086
    .word piix3_ide
    .long 0x71138086
    .word piix4_pm
chips_end:

.macro CONFIG_WRITE size, register, value
    mov di, \register
    mov ecx, \value
    call pci_write\size
.endm

/* PIIX3 function 0: PIRQRC[A:D] at 60h-63h, and the ELCR bits of the two lines. */
piix3_isa:
    CONFIG_WRITE 32, 0x60, 0x0B0B0A0A
    mov dx, ELCR2
    mov al, (1 << (10 - 8)) | (1 << (11 - 8))
    out dx, al
    mov dx, ELCR1
    xor al, al
    out dx, al
    ret

/* PIIX3 function 1: IDETIM bit 15 opens each channel's ports, 1F0h and 170h. */
piix3_ide:
    CONFIG_WRITE 16, 0x40, 0x8000
    CONFIG_WRITE 16, 0x42, 0x8000
    ret

/* PIIX4 function 3: PMBASE 600h, open by PMREGMISC bit 0; SMBus base 700h. Its interrupt is IRQ 9. */
piix4_pm:
    CONFIG_WRITE 32, 0x40, 0x601
    CONFIG_WRITE 8, 0x80, 1
    CONFIG_WRITE 32, 0x90, 0x701
    CONFIG_WRITE 8, 0xD2, 0x09
    CONFIG_WRITE 8, REG_IRQ_LINE, 9
    ret

    .balign 4
memory_next: .long 0
io_next:     .word 0
pci_last_bus: .byte 0
