/* fw_cfg, the emulator's own way of telling firmware about the machine: select an item at port 510h,
 * read its bytes at port 511h. Item 0 is the signature "QEMU", item 19h the directory of files: a count,
 * then for each 64 bytes of size, selector, two unused, name; numbers big-endian.
 * Left out: writing, and the DMA interface.
 */
#include "common.inc"

#define ITEM_SIGNATURE 0x0000
#define ITEM_DIRECTORY 0x0019
#define NAME_LENGTH    56
#define ENTRY_LENGTH   64
#define FILES_MAX      256              /* a directory larger than this is not believed */

    .global fw_cfg_find, fw_cfg_entry, fw_cfg_item, fw_cfg_read, fw_cfg_select

/* In: CS:SI = file name, zero-terminated. Out: CF set when there is no such file; else it is selected
 * and ECX is its size. Clobbers EAX, EDX, DI, SI kept. */
fw_cfg_find:
    call fw_cfg_present
    jc 5f
    mov ax, ITEM_DIRECTORY
    call fw_cfg_select
    call fw_cfg_read32
    cmp eax, FILES_MAX
    ja 5f
    mov di, ax                          // entries left
1:  sub di, 1
    jc 6f
    call fw_cfg_read32
    mov ecx, eax
    call fw_cfg_read32
    shr eax, 16
    push ax                             // its selector
    push si
    push di
    mov di, NAME_LENGTH
    xor ah, ah                          // 0: same so far, 1: differs, 2: name ended, same
2:  mov dx, FW_CFG_DATA
    in al, dx
    test ah, ah
    jnz 3f
    cmp al, cs:[si]
    jne 4f
    inc si
    test al, al
    jnz 3f
    mov ah, 2
    jmp 3f
4:  mov ah, 1
3:  dec di
    jnz 2b
    cmp ah, 2
    pop di
    pop si
    pop dx
    jne 1b
    mov ax, dx
    call fw_cfg_select
    clc
    ret
5:  stc
6:  ret

/* In: AX = number of a file, ES:DI = 64 bytes. Out: its directory entry there; CF set when there are not so many.
 * Clobbers EAX, CX, DX, DI. */
fw_cfg_entry:
    push ax
    call fw_cfg_present
    pop cx
    jc 2f
    mov ax, ITEM_DIRECTORY
    call fw_cfg_select
    call fw_cfg_read32
    cmp eax, FILES_MAX
    ja 3f
    cmp cx, ax
    jae 3f
    inc cx
1:  push cx
    push di
    mov cx, ENTRY_LENGTH
    call fw_cfg_read                    // the last one stays
    pop di
    pop cx
    loop 1b
    clc
    ret
3:  stc
2:  ret

/* Out: CF set when there is no fw_cfg. Clobbers EAX, DX. */
fw_cfg_present:
    mov ax, ITEM_SIGNATURE
    call fw_cfg_select
    call fw_cfg_read32
    cmp eax, 0x51454D55                 // "QEMU", read as a big-endian number
    je 1f
    stc
1:  ret

/* In: AX = item. Out: AX = its first word (little-endian), or CF. Clobbers EAX, DX. */
fw_cfg_item:
    push ax
    call fw_cfg_present
    pop ax
    jc 1f
    call fw_cfg_select
    mov dx, FW_CFG_DATA
    in al, dx
    mov ah, al
    in al, dx
    xchg al, ah
    clc
1:  ret

/* In: AX = item. Clobbers DX. */
fw_cfg_select:
    mov dx, FW_CFG_SELECT
    out dx, ax
    ret

/* Out: EAX = four bytes, the first one highest. Clobbers DX. */
fw_cfg_read32:
    push cx
    mov cx, 4
    mov dx, FW_CFG_DATA
1:  shl eax, 8
    in al, dx
    loop 1b
    pop cx
    ret

/* In: ES:DI = where to, CX = bytes. DI goes past them. Clobbers AL, CX, DX. */
fw_cfg_read:
    mov dx, FW_CFG_DATA
    rep insb
    ret
