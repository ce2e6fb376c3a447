/* INT 15h AH=87h: copies CX words between any addresses below 4 GiB, by way of protected mode.
 *
 * In:  ES:SI = a descriptor table of 48 bytes; the caller fills in 10h (source) and 18h (target)
 * Out: CF clear and AH = 0; CF set and AH = 2 when a descriptor is too short for CX words
 * The BIOS fills in 08h (the table), 20h (its code) and 28h (the stack, here: a plain 64 KiB segment).
 */
#include "common.inc"

    .global int15_87
int15_87:
    mov si, CALLER_SI
    mov es, CALLER_ES
    cmp cx, 0x8000
    ja 8f
    mov ax, cx
    shl ax, 1
    dec ax                              // the limit they need: 8000h words reach FFFFh
    test cx, cx
    jz 7f
    cmp ax, es:[si + 0x10]
    ja 8f
    cmp ax, es:[si + 0x18]
    ja 8f
    call a20_state
    push ax
    call a20_enable
    movzx edx, si
    xor eax, eax
    mov ax, es
    shl eax, 4
    add edx, eax                        // the table's linear address
    mov word ptr es:[si + 8], 47
    mov es:[si + 10], edx
    mov dword ptr es:[si + 0x20], 0x0000FFFF
    mov dword ptr es:[si + 0x24], 0x00009B0F
    mov dword ptr es:[si + 0x28], 0x0000FFFF
    mov dword ptr es:[si + 0x2C], 0x00009300
    cli
    lgdt es:[si + 8]
    mov word ptr es:[si + 14], 0
    mov byte ptr es:[si + 13], 0x93     // after LGDT took its six bytes, a descriptor again
    mov eax, cr0
    or al, 1
    mov cr0, eax
    FAR_JUMP 0x20, 2f
2:  mov ax, 0x10
    mov ds, ax
    mov ax, 0x18
    mov es, ax
    xor si, si
    xor di, di
    rep movsw
    mov ax, 0x28
    mov ds, ax
    mov es, ax
    mov eax, cr0
    and al, 0xFE
    mov cr0, eax
    FAR_JUMP BIOS_SEG, 3f
3:  pop ax
    test al, al
    jnz 7f
    call a20_disable
7:  mov CALLER_AH, 0
    CALLER_CLC
    ret
8:  mov CALLER_AH, 2
    CALLER_STC
    ret
