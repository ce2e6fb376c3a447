/* An option ROM that boots a kernel which the board offers by fw_cfg; here Linux, entered in real mode.
 *
 * BIOS Boot Specification 1.01, "Plug and Play Expansion Header": the ROM is a boot device of its own, and the
 * firmware calls its bootstrap entry vector. QEMU's "fw_cfg" description: each part of the kernel has an item with its
 * address, one with its size and one with its bytes, and the DMA interface copies it to any physical address.
 * Linux's "The Linux/x86 Boot Protocol", "Running the Kernel": the real-mode part is entered 20h paragraphs behind its
 * segment, with every other segment register at its beginning and interrupts off.
 *
 * In (bootstrap entry, far call): a stack below 1 MiB. Out: control to the kernel; or back to the firmware
 * with every register kept, when there is no kernel or fw_cfg reports an error. A kernel with an entry of its own in
 * protected or 64-bit mode is protected.S's.
 */
#include "common.inc"
    .global load_part, run_command, read_item, setup_part, give_up

#define FW_CFG_DMA        0x514         /* upper half of the command's address, big-endian; lower half behind it */
#define DMA_ERROR         0x01
#define DMA_SELECT_READ   0x0A

#define KERNEL_ADDRESS    0x07
#define KERNEL_SIZE       0x08
#define INITRD_ADDRESS    0x0A
#define INITRD_SIZE       0x0B
#define KERNEL_ENTRY      0x10
#define KERNEL_DATA       0x11
#define INITRD_DATA       0x12
#define CMDLINE_ADDRESS   0x13
#define CMDLINE_SIZE      0x14
#define CMDLINE_DATA      0x15
#define SETUP_ADDRESS     0x16          /* also in protected.S */
#define SETUP_SIZE        0x17
#define SETUP_DATA        0x18

#define IPL_DEVICE        0x20          /* what initialisation returns: there is a boot device */

    .section .header, "ax"
    .global rom_header
rom_header:
    .byte 0x55, 0xAA
    .byte 0                             // size, filled in by the builder
    jmp initialise
    .org rom_header + 0x18
    .word 0                             // no PCI data structure
    .word pnp_header
    .balign 16
pnp_header:
    .ascii "$PnP"
    .byte 1                             // revision
    .byte 2                             // length in 16 bytes
    .word 0                             // no further header
    .byte 0
    .byte 0                             // checksum, filled in by the builder
    .long 0                             // no device identifier
    .word manufacturer
    .word product
    .byte 0, 0, 0                       // device type: none that has a number
    .byte 0x14                          // only needed to boot from; an initial program load device
    .word 0                             // boot connection vector
    .word 0                             // disconnect vector
    .word bootstrap
    .word 0
    .word 0                             // no resource information
manufacturer: .asciz "emu"
product:      .asciz "kernel"

    .text
initialise:
    mov ax, IPL_DEVICE
    retf

bootstrap:
    pushad
    push ds
    push es
    cld
    mov ax, KERNEL_SIZE
    call read_item
    test eax, eax
    jz give_up
    mov ax, KERNEL_ENTRY
    call read_item
    test eax, eax
    jnz enter_protected
    mov si, offset parts
1:  call load_part
    jc give_up
    add si, 6
    cmp si, offset parts_end
    jb 1b

    mov ax, SETUP_ADDRESS
    call read_item
    mov ebx, eax
    mov ax, CMDLINE_ADDRESS
    call read_item
    sub eax, ebx                        // the segment's stack ends where the command line begins
    sub eax, 16
    shr ebx, 4
    cli
    mov ss, bx
    mov esp, eax
    mov ds, bx
    mov es, bx
    mov fs, bx
    mov gs, bx
    add bx, 0x20
    push bx
    push 0
    xor eax, eax
    xor ebx, ebx
    xor ecx, ecx
    xor edx, edx
    xor esi, esi
    xor edi, edi
    xor ebp, ebp
    retf

give_up:
    pop es
    pop ds
    popad
    retf

/* Address, size and data items of each part. */
parts:
    .word KERNEL_ADDRESS, KERNEL_SIZE, KERNEL_DATA
    .word INITRD_ADDRESS, INITRD_SIZE, INITRD_DATA
    .word CMDLINE_ADDRESS, CMDLINE_SIZE, CMDLINE_DATA
setup_part:
    .word SETUP_ADDRESS, SETUP_SIZE, SETUP_DATA
parts_end:

/* In: CS:SI = a row of the table. Out: CF set on error. Clobbers EAX, EBX, ECX, EDX, EDI, EBP. */
load_part:
    mov ax, cs:[si + 2]
    call read_item
    test eax, eax                       // clears CF
    jz 3f
    mov edi, eax
    mov ax, cs:[si]
    call read_item
    bswap eax                           // the command: control, length and 64-bit address, big-endian
    push eax
    push 0
    push 0
    bswap edi
    push edi
    movzx ebx, word ptr cs:[si + 4]
    shl ebx, 16
    or bl, DMA_SELECT_READ
    bswap ebx
    push ebx
    xor ebp, ebp
    mov bp, sp
    xor ebx, ebx
    mov bx, ss
    shl ebx, 4
    add ebx, ebp                        // its physical address
    call run_command
1:  mov eax, [bp]                       // the device leaves zero or the error bit there
    bswap eax
    test eax, eax
    jz 2f
    test al, DMA_ERROR
    jz 1b
    add sp, 16
    stc
    ret
2:  add sp, 16
    clc
3:  ret

/* In: EBX = physical address of a command. Clobbers EAX, EBX, DX. */
run_command:
    bswap ebx
    mov dx, FW_CFG_DMA
    xor eax, eax
    out dx, eax
    add dx, 4
    mov eax, ebx
    out dx, eax
    ret

/* In: AX = item. Out: EAX = its first four bytes, little-endian. Clobbers CX, DX. */
read_item:
    mov dx, FW_CFG_SELECT
    out dx, ax
    mov dx, FW_CFG_DATA
    mov cx, 4
1:  in al, dx
    ror eax, 8
    loop 1b
    ret
