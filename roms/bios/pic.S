/* Interrupt controllers, vectors, and the handlers that answer when nothing better is installed.
 *
 * 8259A sheet, "Initialization Command Words". IRQ 0-7 arrive at vectors 08h-0Fh, IRQ 8-15 at 70h-77h.
 * Left out: INT 05h prints no screen; INT 1Bh, 1Ch and 4Ah are hooks and just return.
 */
#include "common.inc"

#define MASK_MASTER  0xB8               /* open: 0 timer, 1 keyboard, 2 cascade, 6 floppy */
#define MASK_SLAVE   0x8E               /* open: 8 clock, 12 mouse, 13 coprocessor, 14 disk */

    .global pic_init, vectors_init, irq_finish_slave, irq_finish
/* Clobbers AL. */
pic_init:
    PORT_OUT PIC1_COMMAND, 0x11         // ICW1: edge triggered, cascade, ICW4 follows
    PORT_OUT PIC2_COMMAND, 0x11
    PORT_OUT PIC1_DATA, 0x08            // ICW2: vectors
    PORT_OUT PIC2_DATA, 0x70
    PORT_OUT PIC1_DATA, 0x04            // ICW3: the slave is on input 2
    PORT_OUT PIC2_DATA, 0x02
    PORT_OUT PIC1_DATA, 0x01            // ICW4: 8086 mode, EOI by command
    PORT_OUT PIC2_DATA, 0x01
    PORT_OUT PIC1_DATA, MASK_MASTER
    PORT_OUT PIC2_DATA, MASK_SLAVE
    ret

/* Fills the interrupt vector table. Clobbers AX, CX, SI, DI, ES. */
vectors_init:
    xor ax, ax
    mov es, ax
    xor di, di
    mov cx, 0x78
1:  mov ax, offset just_return
    stosw
    mov ax, BIOS_SEG
    stosw
    loop 1b
    xor ax, ax
    mov cx, (0x100 - 0x78) * 2          // 78h-FFh: free, a null vector says so
    rep stosw
    mov di, 0x60 * 4                    // 60h-67h: the user's
    mov cx, 8 * 2
    rep stosw
    mov si, offset vectors
2:  movzx di, byte ptr cs:[si]
    inc si
    shl di, 2
    mov ax, cs:[si]
    stosw
    add si, 2
    cmp si, offset vectors_end
    jb 2b
    ret

.macro VECTOR number, handler
    .byte \number
    .word \handler
.endm

vectors:
    VECTOR 0x00, fault_divide
    VECTOR 0x06, fault_opcode
    VECTOR 0x08, int08
    VECTOR 0x09, int09
    VECTOR 0x0A, irq_master_unused
    VECTOR 0x0B, irq_master_unused
    VECTOR 0x0C, irq_master_unused
    VECTOR 0x0D, irq_master_unused
    VECTOR 0x0E, irq_floppy
    VECTOR 0x0F, irq_master_unused
    VECTOR 0x11, int11
    VECTOR 0x12, int12
    VECTOR 0x13, int13
    VECTOR 0x14, int14
    VECTOR 0x15, int15
    VECTOR 0x16, int16
    VECTOR 0x17, int17
    VECTOR 0x18, int18
    VECTOR 0x19, int19
    VECTOR 0x1A, int1a
    VECTOR 0x1E, diskette_table
    VECTOR 0x70, int70
    VECTOR 0x71, irq9
    VECTOR 0x72, irq_slave_unused
    VECTOR 0x73, irq_slave_unused
    VECTOR 0x74, int74
    VECTOR 0x75, irq13
    VECTOR 0x76, irq_disk
    VECTOR 0x77, irq_slave_unused
vectors_end:

just_return:
    iret

/* IRQ 2-7 with nobody to serve them. An empty in-service register means that the request went away
 * before it was acknowledged (8259A sheet, "Spurious" default IR7): then no EOI is due. */
irq_master_unused:
    push ax
    mov al, PIC_READ_ISR
    out PIC1_COMMAND, al
    in al, PIC1_COMMAND
    test al, al
    jz 1f
    PORT_OUT PIC1_COMMAND, PIC_EOI
1:  pop ax
    iret

/* The same for IRQ 10, 11 and 15; the master saw a real request in either case. */
irq_slave_unused:
    push ax
    mov al, PIC_READ_ISR
    out PIC2_COMMAND, al
    in al, PIC2_COMMAND
    test al, al
    jz 1f
    PORT_OUT PIC2_COMMAND, PIC_EOI
1:  PORT_OUT PIC1_COMMAND, PIC_EOI
    pop ax
    iret

/* IRQ 9 stands where the PC's IRQ 2 was, so INT 0Ah serves it and ends it on the master. */
irq9:
    push ax
    PORT_OUT PIC2_COMMAND, PIC_EOI
    pop ax
    int 0x0A
    iret

/* IRQ 13, coprocessor error: the latch is cleared and INT 02h told, as on the AT. */
irq13:
    push ax
    xor al, al
    out 0xF0, al
    call irq_finish_slave
    pop ax
    int 0x02
    iret

/* Ends an interrupt of IRQ 8-15, or of IRQ 0-7. Clobbers AL. */
irq_finish_slave:
    PORT_OUT PIC2_COMMAND, PIC_EOI
irq_finish:
    PORT_OUT PIC1_COMMAND, PIC_EOI
    ret

/* A divide error or invalid opcode with no handler of the guest's own would repeat for ever, since
 * both return to the instruction at fault. Better to say so and stop. */
fault_divide:
    mov si, offset text_divide
    jmp fault_stop
fault_opcode:
    mov si, offset text_opcode
fault_stop:
    mov bp, sp
    call print
    mov ax, [bp + 2]
    call print_hex16
    mov al, ':'
    call print_char
    mov ax, [bp]
    call print_hex16
    call print_newline
    jmp halt

text_divide: .asciz "\r\nDivide error at "
text_opcode: .asciz "\r\nInvalid opcode at "
