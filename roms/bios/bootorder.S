/* The boot order that the board offers as the fw_cfg file "bootorder": a device path on each line, in Open Firmware's form.
 *
 * Understood, by how QEMU's `pc` names its devices: "/rom@..." (the bootstrap entry of an expansion ROM),
 * ".../drive@C/disk@U" (device U on ATA channel C, a disk or a CD-ROM), ".../floppy@N", and "HALT" (nothing else is tried).
 * Lines that name other devices are passed over. Left out: which of several ROMs a line means; the first one goes.
 */
#include "common.inc"

#define FILE      EBDA_SECTOR
#define FILE_MAX  511                   /* what is longer is cut off */

    .global boot_order_read, boot_order_next

/* Out: FS:SI = the first line; or CF when there is no such file. FS = EBDA. Clobbers EAX, CX, EDX, DI, ES. */
boot_order_read:
    mov si, offset name
    call fw_cfg_find
    jc 9f
    push EBDA_SEG
    pop es
    mov di, FILE
    cmp ecx, FILE_MAX
    jbe 1f
    mov cx, FILE_MAX
1:  call fw_cfg_read
    mov byte ptr es:[di], 0
    mov si, FILE
    clc
9:  ret

/* In: FS:SI = a line. Out: AL = what it names (ORDER_...), DL = its number, SI = the next line. Clobbers AH, BX, DI. */
boot_order_next:
    mov al, ORDER_END
    cmp byte ptr fs:[si], 0
    je 9f
    mov al, ORDER_HALT
    mov di, offset word_halt
    call starts
    je 5f
    mov al, ORDER_ROM
    mov di, offset word_rom
    call starts
    je 5f
1:  mov di, offset word_drive
    call starts
    je 2f
    mov di, offset word_floppy
    call starts
    je 3f
    cmp byte ptr fs:[si], 0
    je 4f
    cmp byte ptr fs:[si], '\n'
    je 4f
    inc si
    jmp 1b
2:  add si, offset word_drive_end - word_drive
    mov dl, fs:[si]
    and dl, 1
    cmp byte ptr fs:[si], 0
    je 4f
    inc si
    mov di, offset word_disk
    call starts
    jne 4f
    mov al, fs:[si + word_disk_end - word_disk]
    and al, 1
    shl dl, 1
    or dl, al
    mov al, ORDER_UNIT
    jmp 5f
3:  mov dl, fs:[si + word_floppy_end - word_floppy]
    and dl, 1
    mov al, ORDER_DISKETTE
    jmp 5f
4:  mov al, ORDER_OTHER
5:  cmp byte ptr fs:[si], 0
    je 9f
    cmp byte ptr fs:[si], '\n'
    lea si, [si + 1]
    jne 5b
9:  ret

/* In: FS:SI = text, CS:DI = what it may begin with, zero-terminated. Out: ZF set when it does. Clobbers AH, BX. */
starts:
    xor bx, bx
1:  mov ah, cs:[di + bx]
    test ah, ah
    jz 2f
    cmp ah, fs:[si + bx]
    jne 2f
    inc bx
    jmp 1b
2:  ret

name:        .asciz "bootorder"
word_halt:   .asciz "HALT"
word_rom:    .asciz "/rom@"
word_drive:  .ascii "/drive@"
word_drive_end: .byte 0
word_disk:   .ascii "/disk@"
word_disk_end: .byte 0
word_floppy: .ascii "/floppy@"
word_floppy_end: .byte 0
