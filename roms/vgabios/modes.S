/* INT 10h AH=00h: sets a mode.
 *
 * In:  AL = mode: 0-3 and 7 text; 4, 5 four colours and 6 two, as CGA had them; 0Dh, 0Eh, 10h, 12h 16 colours,
 *      0Fh monochrome, 11h two colours; 13h 256 colours; bit 7 keeps the screen's memory.
 * Out: AL = 20h, 30h or 3Fh, as the PS/2 has it. An unknown mode changes nothing.
 * Every register is programmed from the table in parameters.S, then palette, font and memory.
 * Left out: 350- and 200-line text.
 */
#include "common.inc"
#include "vga.inc"

#define B_IS_TEXT 0x80                  /* flags in the mode list */
#define B_PALETTE 0x03

    .global int10_00, set_mode, is_graphics, program_registers, show_screen
int10_00:
/* In: AL as above. Out: CF when there is no such mode. */
set_mode:
    mov dl, al
    and al, 0x7F
    mov si, offset mode_list
1:  cmp al, cs:[si]
    je 2f
    add si, 6
    cmp si, offset mode_list_end
    jb 1b
    stc
    ret
2:  push dx
    push si
    call vbe_off
    pop si
    pop dx
    mov al, cs:[si]
    mov ds:[BDA_VIDEO_MODE], al
    and byte ptr ds:[BDA_VIDEO_CTL], 0x7F
    and dl, 0x80
    or ds:[BDA_VIDEO_CTL], dl
    mov al, cs:[si + 1]
    mov ds:[BDA_CGA_MODE], al
    mov byte ptr ds:[BDA_CGA_COLOUR], 0x30
    mov al, cs:[si + 2]
    mov CALLER_AL, al
    cmp al, 0x3F                        // mode 6: white on black
    jne 6f
    mov ds:[BDA_CGA_COLOUR], al
6:
    mov di, cs:[si + 4]                 // parameter record
    mov cl, cs:[si + 3]                 // palette
    push si
    push di
    call program_registers
    test byte ptr ds:[BDA_VGA_FLAGS], 0x08          // default palette wanted?
    jnz 3f
    call load_palette
3:  pop di
    call set_variables
    pop si
    call is_graphics
    jc 4f
    call font_load_default
4:  test byte ptr ds:[BDA_VIDEO_CTL], 0x80
    jnz 5f
    call clear_memory
5:  call show_screen
    mov cx, 0x0607
    call cursor_shape
    clc
    ret

/* The palette goes to the attribute controller again. Clobbers AL, DX. */
show_screen:
    mov dx, ds:[BDA_CRTC]
    add dx, VGA_STATUS - VGA_CRTC_COLOUR
    in al, dx
    mov dx, VGA_ATTRIBUTE
    mov al, VIDEO_ON
    out dx, al
    ret

/* Mode, CGA mode register as the BIOS data area shows it, answer in AL, palette, parameter record. */
.macro MODE number, cga, answer, palette, record
    .byte \number, \cga, \answer, \palette
    .word \record
.endm
mode_list:
    MODE 0x00, 0x2C, 0x30, 0, params_40
    MODE 0x01, 0x28, 0x30, 0, params_40
    MODE 0x02, 0x2D, 0x30, 0, params_80
    MODE 0x03, 0x29, 0x30, 0, params_80
    MODE 0x04, 0x2A, 0x30, 3, params_04
    MODE 0x05, 0x2E, 0x30, 3, params_04
    MODE 0x06, 0x1E, 0x3F, 3, params_06
    MODE 0x07, 0x29, 0x30, 1, params_mono
    MODE 0x0D, 0x29, 0x20, 3, params_0d
    MODE 0x0E, 0x29, 0x20, 3, params_0e
    MODE 0x0F, 0x29, 0x20, 1, params_0f
    MODE 0x10, 0x29, 0x20, 0, params_10
    MODE 0x11, 0x29, 0x20, 0, params_11
    MODE 0x12, 0x29, 0x20, 0, params_12
    MODE 0x13, 0x29, 0x20, 2, params_13
mode_list_end:

/* Out: CF in a graphics mode. Clobbers AL. */
is_graphics:
    mov al, ds:[BDA_VIDEO_MODE]
    cmp al, 7
    je 1f
    cmp al, 4
    cmc
1:  ret

/* In: CS:DI = parameter record. Out: BDA_CRTC set, the screen off. Keeps CX, DI. */
program_registers:
    push cx
    mov dx, VGA_SEQUENCER
    INDEXED_OUT 0, 1                    // synchronous reset while the clock may change
    mov al, cs:[di + PARAM_MISC]
    mov dx, VGA_MISC
    out dx, al
    and al, 1                           // I/O address: 3Dxh or 3Bxh
    mov dx, VGA_CRTC_COLOUR
    jnz 1f
    mov dx, VGA_CRTC_COLOUR - 0x20
1:  mov ds:[BDA_CRTC], dx
    lea si, [di + PARAM_SEQUENCER]
    mov cx, 4
    mov ah, 1
    mov dx, VGA_SEQUENCER
    call write_indexed
    INDEXED_OUT 0, 3
    mov dx, ds:[BDA_CRTC]
    mov ah, cs:[di + PARAM_CRTC + CRTC_PROTECT]
    and ah, 0x7F                        // registers 0-7 writable
    mov al, CRTC_PROTECT
    out dx, ax
    lea si, [di + PARAM_CRTC]
    mov cx, 25
    xor ah, ah
    call write_indexed
    lea si, [di + PARAM_GRAPHICS]
    mov cx, 9
    xor ah, ah
    mov dx, VGA_GRAPHICS
    call write_indexed
    mov dx, ds:[BDA_CRTC]
    add dx, VGA_STATUS - VGA_CRTC_COLOUR
    in al, dx
    lea si, [di + PARAM_ATTRIBUTE]
    mov cx, 20
    xor ah, ah
    mov dx, VGA_ATTRIBUTE
2:  mov al, ah
    out dx, al
    mov al, cs:[si]
    out dx, al
    inc si
    inc ah
    loop 2b
    mov al, ah                          // 14h: colour select
    out dx, al
    xor al, al
    out dx, al
    mov dx, VGA_PEL_MASK
    mov al, 0xFF
    out dx, al
    pop cx
    ret

/* CX registers from AH on, from CS:SI, behind the index port DX. */
write_indexed:
    mov al, ah
    mov bl, cs:[si]
    push ax
    mov ah, bl
    out dx, ax
    pop ax
    inc si
    inc ah
    loop write_indexed
    ret

/* In: CS:DI = parameter record. */
set_variables:
    push ds
    pop es
    movzx ax, byte ptr cs:[di + PARAM_COLUMNS]
    mov ds:[BDA_COLUMNS], ax
    mov ax, cs:[di + PARAM_PAGE_SIZE]
    mov ds:[BDA_PAGE_SIZE], ax
    mov al, cs:[di + PARAM_LAST_ROW]
    mov ds:[BDA_LAST_ROW], al
    movzx ax, byte ptr cs:[di + PARAM_CHAR_HEIGHT]
    mov ds:[BDA_CHAR_HEIGHT], ax
    mov dx, offset font_8x16            // INT 43h: the font that graphics modes draw with
    cmp al, 16
    je 1f
    mov dx, offset font_8x14
    cmp al, 14
    je 1f
    mov dx, offset font_8x8
1:  push ds
    xor ax, ax
    mov ds, ax
    mov ds:[0x43 * 4], dx
    mov ds:[0x43 * 4 + 2], cs
    pop ds
    mov ds:[BDA_PAGE_START], ax
    mov ds:[BDA_PAGE], al
    mov di, BDA_CURSOR
    mov cx, 8
    rep stosw
    ret

/* Text memory to blanks, graphics memory to zero. The window is what the mode's GDC register 6 says. */
clear_memory:
    call is_graphics
    mov eax, 0
    jnc 2f
    mov cx, 0x10000 / 4
    mov dx, 0xA000
    cmp byte ptr ds:[BDA_VIDEO_MODE], 6
    ja 1f
    mov cx, 0x8000 / 4
    mov dx, 0xB800
    jmp 1f
2:
    call text_segment
    mov dx, es
    mov eax, 0x07200720
    mov cx, 0x8000 / 4
1:  mov es, dx
    xor di, di
    rep stosd
    ret
