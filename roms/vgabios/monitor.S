/* The monitor's power (VESA, "VBE/PM"), and what it says of itself ("VBE/DDC").
 *
 * AX=4F10h BL=00h BL = 10h (version 1.0), BH = 4 (it can be off); 01h sets BH: 0 on, 4 off; 02h BH = how it is
 * AX=4F15h BL=00h BL = 2 (DDC2), BH = 1, the seconds that a block takes, rounded up
 *          BL=01h block DX, of 128 bytes, to ES:DI
 * Off is sequencer register 1 bit 5, as for INT 10h AH=12h BL=36h. The adapter has the block at the beginning of its registers in memory, far above 1 MiB: the BIOS moves it (INT 15h
 * AH=87h). Left out: standby and suspend, controllers other than 0, extension blocks.
 */
#include "common.inc"
#include "vga.inc"

    .global vbe_power, vbe_ddc

/* Each returns CF when it cannot be done. */
vbe_power:
    mov ah, bh
    cmp bl, 1
    mov dx, VGA_SEQUENCER
    mov al, 1
    je 1f
    ja 2f
    mov CALLER_BX, 0x0410
    clc
    ret
1:  test ah, ~4 & 0xFF
    jnz cannot
    out dx, al
    inc dx
    in al, dx
    and al, 0xDF
    shl ah, 3
    or al, ah
    out dx, al
    clc
    ret
2:  cmp bl, 2
    jne cannot
    out dx, al
    inc dx
    in al, dx
    shr al, 3
    and al, 4
    mov CALLER_BH, al
    clc
    ret

vbe_ddc:
    test cx, cx
    jnz cannot
    cmp bl, 1
    ja cannot
    je block
    mov CALLER_BX, 0x0102
    clc
    ret
cannot:
    stc
    ret

block:
    test dx, dx
    jnz cannot
    mov bl, 0x18                        // registers in memory
    call base_address
    test eax, eax
    jz cannot
    mov ecx, eax
    xor eax, eax                        // a table of six descriptors on the stack
    mov dx, 12
1:  push eax
    dec dx
    jnz 1b
    mov si, sp
    mov eax, ecx
    lea bx, [si + 0x10]
    call descriptor
    xor eax, eax
    mov ax, es
    shl eax, 4
    movzx edx, di
    add eax, edx
    add bx, 8
    call descriptor
    push es
    push ss
    pop es
    mov cx, 64
    mov ah, 0x87
    int 0x15
    pop es
    lea sp, [esp + 48]
    jc cannot
    cmp dword ptr es:[di], 0xFFFFFF00   // an adapter without a monitor has none
    jne cannot
    cmp dword ptr es:[di + 4], 0x00FFFFFF
    jne cannot
    clc
    ret

/* Fills in the one at SS:BX: 64 KiB from EAX on. Clobbers EAX. */
descriptor:
    mov word ptr ss:[bx], 0xFFFF
    mov ss:[bx + 2], eax
    mov byte ptr ss:[bx + 5], 0x93
    shr eax, 24
    mov ss:[bx + 7], al
    ret
