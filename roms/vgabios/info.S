/* INT 10h: what there is.
 *
 * AH=0Fh AL = mode (bit 7 as it was set), AH = columns, BH = page
 * AH=12h BL=10h BH = 0 colour or 1 monochrome, BL = 3 (256 KiB), CX = 0009h
 *        BL=30h text lines, 31h default palette, 34h cursor emulation: AL as given, answer AL = 12h
 *        BL=32h AL: 0 answers at its addresses, 1 does not
 *        BL=36h AL: 0 screen on, 1 off
 * AH=1Ah AL=00h: AL = 1Ah, BL = 8 (VGA, colour) or 7, BH = 0; AL=01h: AL = 1Ah, nothing changes
 * AH=1Bh BX=0: 64 bytes of state to ES:DI, AL = 1Bh
 * Left out: BL=20h (print screen), 33h (summing to grey), 35h (second display). BL=30h answers, but
 * every text mode has 400 lines.
 */
#include "common.inc"
#include "vga.inc"

    .global int10_0f, int10_12, int10_1a, int10_1b

int10_0f:
    mov al, ds:[BDA_VIDEO_CTL]
    and al, 0x80
    or al, ds:[BDA_VIDEO_MODE]
    mov CALLER_AL, al
    mov al, ds:[BDA_COLUMNS]
    mov CALLER_AH, al
    mov al, ds:[BDA_PAGE]
    mov CALLER_BH, al
    ret

int10_12:
    mov bl, CALLER_BL
    cmp bl, 0x10
    je memory
    cmp al, 2
    ja 9f
    cmp bl, 0x30
    je lines
    cmp al, 1
    ja 9f
    cmp bl, 0x31
    je default_palette
    cmp bl, 0x32
    je addressing
    cmp bl, 0x34
    je emulation
    cmp bl, 0x36
    je refresh
9:  ret

memory:
    mov CALLER_BX, 0x0003
    call display_code
    cmp al, 7
    jne 1f
    mov CALLER_BH, 1
1:  mov CALLER_CX, 0x0009
    ret

lines:
    and byte ptr ds:[BDA_VGA_FLAGS], 0x6F
    or byte ptr ds:[BDA_VGA_FLAGS], 0x10
    jmp answer

default_palette:
    and byte ptr ds:[BDA_VGA_FLAGS], ~0x08 & 0xFF
    shl al, 3
    or ds:[BDA_VGA_FLAGS], al
    jmp answer

/* Miscellaneous output bit 1: the processor may reach display memory. */
addressing:
    mov bl, al
    xor bl, 1
    shl bl, 1
    mov dx, VGA_MISC_READ
    in al, dx
    and al, 0xFD
    or al, bl
    mov dx, VGA_MISC
    out dx, al
    jmp answer

emulation:
    and byte ptr ds:[BDA_VIDEO_CTL], 0xFE
    or ds:[BDA_VIDEO_CTL], al
    jmp answer

/* Sequencer register 1 bit 5: screen off. */
refresh:
    mov bl, al
    shl bl, 5
    mov dx, VGA_SEQUENCER
    mov al, 1
    out dx, al
    inc dx
    in al, dx
    and al, 0xDF
    or al, bl
    out dx, al
answer:
    mov CALLER_AL, 0x12
    ret

int10_1a:
    cmp al, 1
    ja 2f
    je 1f
    call display_code
    mov CALLER_BL, al
    mov CALLER_BH, 0
1:  mov CALLER_AL, 0x1A
2:  ret

/* Out: AL = display combination code. */
display_code:
    mov al, 8
    cmp byte ptr ds:[BDA_VIDEO_MODE], 7
    je 1f
    cmp byte ptr ds:[BDA_VIDEO_MODE], 0x0F
    jne 2f
1:  dec al
2:  ret

int10_1b:
    cmp CALLER_BX, 0
    jne 2f
    mov es, CALLER_ES
    mov di, CALLER_DI
    push di
    mov cx, 32
    xor ax, ax
    rep stosw
    pop di
    mov word ptr es:[di], offset abilities
    mov es:[di + 2], cs
    push di
    add di, 4                           // 30 bytes of the BIOS data area, from the mode on
    mov si, BDA_VIDEO_MODE
    mov cx, 30
    rep movsb
    pop di
    mov al, ds:[BDA_LAST_ROW]
    inc al
    mov es:[di + 0x22], al
    mov ax, ds:[BDA_CHAR_HEIGHT]
    mov es:[di + 0x23], ax
    call display_code
    mov es:[di + 0x25], al
    movzx ebx, byte ptr ds:[BDA_VIDEO_MODE]
    mov byte ptr es:[di + 0x2A], 2      // 400 lines
    cmp bl, 0x13
    ja 1f
    mov al, cs:[bx + colours]
    mov es:[di + 0x27], al
    cmp bl, 0x13
    sete byte ptr es:[di + 0x28]                 // 256
    mov al, cs:[bx + pages]
    mov es:[di + 0x29], al
1:  mov byte ptr es:[di + 0x31], 3      // 256 KiB
    mov CALLER_AL, 0x1B
2:  ret

/* Of modes 0 to 13h. */
colours: .byte 16, 16, 16, 16, 4, 4, 2, 0, 0, 0, 0, 0, 0, 16, 16, 0, 16, 2, 16, 0
pages:   .byte 8, 8, 8, 8, 1, 1, 1, 8, 0, 0, 0, 0, 0, 8, 4, 2, 2, 1, 1, 1

/* The static table: modes 0-7, 0Dh-13h; 400 lines; 8 font blocks, 2 at a time; states are saved and restored. */
abilities:
    .byte 0xFF, 0xE0, 0x0F
    .byte 0, 0, 0, 0
    .byte 0x04, 8, 2
    .byte 0x00, 0x02
    .word 0
    .byte 0, 0
