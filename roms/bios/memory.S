/* How much RAM there is, and who is told: INT 12h, INT 15h AH=88h, AX=E801h, AX=E881h.
 *
 * INT 12h          AX = KiB of conventional memory
 * INT 15h AH=88h   AX = KiB above 1 MiB, at most FFFFh
 *         AX=E801h AX = CX = KiB from 1 MiB to 16 MiB, BX = DX = 64 KiB blocks above 16 MiB
 *         AX=E881h the same in the 32-bit registers
 * CMOS:   30h/31h KiB above 1 MiB (at most 63 MiB), 34h/35h 64 KiB blocks above 16 MiB,
 *         5Bh-5Dh 64 KiB blocks above 4 GiB. fw_cfg's "etc/e820", where present, is read by e820.S.
 */
#include "common.inc"

    .global memory_size, memory_low_top, memory_high_size
    .global int11, int12, int15_88, int15_e801, int15_e881

/* Out: memory_low_top = end of RAM below 4 GiB, memory_high_size = bytes from 4 GiB on.
 * Clobbers EAX, EBX. */
memory_size:
    mov al, 0x34
    call cmos_read_word
    test eax, eax
    jz 1f
    shl eax, 16
    add eax, 0x01000000
    jmp 2f
1:  mov al, 0x30
    call cmos_read_word
    shl eax, 10
    add eax, 0x00100000
2:  mov cs:[memory_low_top], eax
    mov al, 0x5C
    call cmos_read_word
    mov ebx, eax
    shl ebx, 8
    mov al, 0x5B
    call cmos_read
    mov bl, al
    mov eax, ebx
    shl eax, 16
    shr ebx, 16
    mov cs:[memory_high_size], eax
    mov cs:[memory_high_size + 4], ebx
    ret

/* In: AL = register with the low byte; the next has the high one. Out: EAX. */
cmos_read_word:
    push bx
    mov bl, al
    inc al
    call cmos_read
    mov bh, al
    mov al, bl
    call cmos_read
    mov ah, bh
    movzx eax, ax
    pop bx
    ret

    .balign 4
memory_low_top:   .long 0
memory_high_size: .quad 0

/* INT 11h: AX = equipment word. */
int11:
    push ds
    push BDA_SEG
    pop ds
    mov ax, ds:[BDA_EQUIPMENT]
    pop ds
    iret

int12:
    push ds
    push BDA_SEG
    pop ds
    mov ax, ds:[BDA_MEMORY_KB]
    pop ds
    iret

int15_88:
    mov eax, cs:[memory_usable_top]
    sub eax, 0x00100000
    shr eax, 10
    cmp eax, 0xFFFF
    jbe 1f
    mov ax, 0xFFFF
1:  mov CALLER_AX, ax
    CALLER_CLC
    ret

/* Out: EAX = KiB from 1 MiB to 16 MiB, EBX = 64 KiB blocks above. */
extended_split:
    mov eax, cs:[memory_usable_top]
    xor ebx, ebx
    cmp eax, 0x01000000
    jbe 1f
    mov ebx, eax
    sub ebx, 0x01000000
    shr ebx, 16
    mov eax, 0x01000000
1:  sub eax, 0x00100000
    shr eax, 10
    ret

int15_e801:
    call extended_split
    mov CALLER_AX, ax
    mov CALLER_CX, ax
    mov CALLER_BX, bx
    mov CALLER_DX, bx
    CALLER_CLC
    ret

int15_e881:
    call extended_split
    mov CALLER_EAX, eax
    mov CALLER_ECX, eax
    mov CALLER_EBX, ebx
    mov CALLER_EDX, ebx
    CALLER_CLC
    ret
