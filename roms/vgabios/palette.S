/* INT 10h AH=10h: palette registers and the digital-to-analogue converter.
 *
 * AL=00h register BL = BH           AL=07h BH = register BL
 * AL=01h overscan = BH              AL=08h BH = overscan
 * AL=02h 17 registers from ES:DX    AL=09h 17 registers to ES:DX
 * AL=03h BL: 0 bright backgrounds, 1 blinking
 * AL=10h DAC BX = DH, CH, CL        AL=15h DH, CH, CL = DAC BX
 * AL=12h CX DAC entries from BX, ES:DX       AL=17h the same to ES:DX
 * AL=13h BL=0: BH = four blocks of 64 (0) or sixteen of 16 (1); BL=1: block BH
 * AL=18h PEL mask = BL, 19h BL = PEL mask, 1Ah BL, BH = block mode and number
 * AL=1Bh CX DAC entries from BX to greys (30 % red, 59 % green, 11 % blue)
 */
#include "common.inc"
#include "vga.inc"

#define MODE_CONTROL  0x10              /* attribute registers after the sixteen of the palette */
#define OVERSCAN      0x11
#define COLOUR_SELECT 0x14
#define BLINK         0x08
#define BLOCKS_OF_16  0x80

    .global int10_10, load_palette, attribute_write

int10_10:
    mov bx, CALLER_BX
    mov di, dx
    movzx si, al
    cmp si, 0x1C
    jae nothing
    shl si, 1
    mov es, CALLER_ES
    jmp word ptr cs:[si + functions]

functions:
    .word set_register, set_overscan, set_all, set_blink, nothing, nothing, nothing, get_register
    .word get_overscan, get_all, nothing, nothing, nothing, nothing, nothing, nothing
    .word set_dac, nothing, set_dac_block, select_block, nothing, get_dac, nothing, get_dac_block
    .word set_mask, get_mask, get_block, to_grey
nothing:
    ret

/* In: AL = attribute register, AH = value. The screen stays on. Clobbers AL, DX. */
attribute_write:
    push ax
    call attribute_start
    out dx, al
    mov al, ah
    out dx, al
    mov al, VIDEO_ON
    out dx, al
    pop ax
    ret

/* In: AL = attribute register. Out: AH. Clobbers DX. */
attribute_read:
    push ax
    call attribute_start
    or al, VIDEO_ON
    out dx, al
    inc dx
    in al, dx
    mov dl, al
    pop ax
    mov ah, dl
    ret

/* Next write to the port, which is left in DX, is an index. */
attribute_start:
    push ax
    mov dx, ds:[BDA_CRTC]
    add dx, VGA_STATUS - VGA_CRTC_COLOUR
    in al, dx
    mov dx, VGA_ATTRIBUTE
    pop ax
    ret

set_register:
    mov al, bl
    mov ah, bh
    cmp al, COLOUR_SELECT
    jbe attribute_write
    ret
set_overscan:
    mov al, OVERSCAN
    mov ah, bh
    jmp attribute_write
set_all:
    xor al, al
1:  mov ah, es:[di]
    inc di
    call attribute_write
    inc al
    cmp al, 16
    jb 1b
    mov al, OVERSCAN
    mov ah, es:[di]
    jmp attribute_write
set_blink:
    mov al, MODE_CONTROL
    call attribute_read
    and ah, ~BLINK & 0xFF
    test bl, bl
    jz attribute_write
    or ah, BLINK
    jmp attribute_write

get_register:
    mov al, bl
    call attribute_read
    mov CALLER_BH, ah
    ret
get_overscan:
    mov al, OVERSCAN
    call attribute_read
    mov CALLER_BH, ah
    ret
get_all:
    xor al, al
1:  call attribute_read
    mov es:[di], ah
    inc di
    inc al
    cmp al, 16
    jb 1b
    mov al, OVERSCAN
    call attribute_read
    mov es:[di], ah
    ret

set_dac:
    mov al, bl
    mov dx, VGA_DAC_WRITE
    out dx, al
    inc dx
    mov al, CALLER_DH
    out dx, al
    mov al, ch
    out dx, al
    mov al, cl
    out dx, al
    ret
get_dac:
    mov al, bl
    mov dx, VGA_DAC_READ
    out dx, al
    mov dx, VGA_DAC_DATA
    in al, dx
    mov CALLER_DH, al
    in al, dx
    mov CALLER_CH, al
    in al, dx
    mov CALLER_CL, al
    ret
set_dac_block:
    jcxz 2f
    mov al, bl
    mov dx, VGA_DAC_WRITE
    out dx, al
    inc dx
1:  call 3f
    loop 1b
2:  ret
.macro DAC_FROM_TABLE
    mov al, es:[di]
    inc di
    out dx, al
.endm
3:  DAC_FROM_TABLE
    DAC_FROM_TABLE
    DAC_FROM_TABLE
    ret
get_dac_block:
    jcxz 2b
    mov al, bl
    mov dx, VGA_DAC_READ
    out dx, al
    mov dx, VGA_DAC_DATA
1:
.rept 3
    in al, dx
    stosb
.endr
    loop 1b
    ret

select_block:
    mov al, MODE_CONTROL
    call attribute_read
    cmp bl, 1
    je 1f
    ja nothing
    and ah, ~BLOCKS_OF_16 & 0xFF
    shl bh, 7
    or ah, bh
    jmp attribute_write
1:  test ah, BLOCKS_OF_16
    mov ah, bh
    jnz 2f
    shl ah, 2                           // four blocks: bits 3:2
2:  and ah, 0x0F
    mov al, COLOUR_SELECT
    jmp attribute_write
get_block:
    mov al, MODE_CONTROL
    call attribute_read
    mov bl, ah
    shr bl, 7
    mov al, COLOUR_SELECT
    call attribute_read
    test bl, bl
    jnz 1f
    shr ah, 2
1:  mov CALLER_BL, bl
    mov CALLER_BH, ah
    ret

set_mask:
    mov al, bl
    mov dx, VGA_PEL_MASK
    out dx, al
    ret
get_mask:
    mov dx, VGA_PEL_MASK
    in al, dx
    mov CALLER_BL, al
    ret

to_grey:
    jcxz 2f
1:  mov al, bl
    mov dx, VGA_DAC_READ
    out dx, al
    mov dx, VGA_DAC_DATA
    in al, dx
    mov ah, 77                          // of 256
    mul ah
    mov si, ax
    in al, dx
    mov ah, 151
    mul ah
    add si, ax
    in al, dx
    mov ah, 28
    mul ah
    add si, ax
    add si, 128
    mov ax, si
    mov dx, VGA_DAC_WRITE
    mov al, bl
    out dx, al
    inc dx
    mov al, ah
    out dx, al
    out dx, al
    out dx, al
    inc bl
    loop 1b
2:  ret

/* A mode's own palette. In: CL = 0 the 64 colours of rgbRGB, 1 monochrome, 2 the 256 of mode 13h, 3 CGA's sixteen for
 * the attributes 00h to 07h and 10h to 17h.
 * Clobbers AX, BX, CX, DX, SI, DI. */
load_palette:
    xor al, al
    mov dx, VGA_DAC_WRITE
    out dx, al
    inc dx
    cmp cl, 1
    je monochrome
    cmp cl, 3
    je cga
    cmp cl, 2
    je colours_256
    xor bl, bl
1:  call ega_colour
    inc bl
    cmp bl, 64
    jb 1b
    ret

/* Bit 3 makes no difference, and neither does bit 5. */
cga:
    xor bl, bl
1:  movzx si, bl
    and si, 0x17
    test si, 0x10
    jz 2f
    xor si, 0x18                        // the bright ones follow in the table
2:  push bx
    mov bl, cs:[cga_colours + si]
    call ega_colour
    pop bx
    inc bl
    cmp bl, 64
    jb 1b
    ret

/* Writes colour BL of the 64: bits 2:0 red, green, blue at two thirds, bits 5:3 the same at one third. */
ega_colour:
    mov bh, bl
    shl bh, 2                           // bit 7 red 1/3, bit 4 red 2/3
    mov cx, 3
1:  xor al, al
    test bh, 0x10
    jz 2f
    mov al, 42
2:  test bh, 0x80
    jz 3f
    add al, 21
3:  out dx, al
    shl bh, 1
    loop 1b
    ret

/* Attributes 00h, 08h, 10h and 18h: black, half, half, full. */
monochrome:
    xor bl, bl
1:  mov al, bl
    shr al, 3
    and al, 3
    mov si, offset grey_levels
    movzx ax, al
    add si, ax
    mov al, cs:[si]
    out dx, al
    out dx, al
    out dx, al
    inc bl
    cmp bl, 64
    jb 1b
    ret
grey_levels: .byte 0, 42, 42, 63

/* Sixteen of CGA, sixteen greys, then three saturations in each of three brightnesses of 24 hues. */
colours_256:
    mov si, offset cga_colours
    mov bh, 16
1:  mov bl, cs:[si]
    inc si
    push bx
    call ega_colour
    pop bx
    dec bh
    jnz 1b
    mov bh, 16
2:  mov al, cs:[si]
    inc si
    out dx, al
    out dx, al
    out dx, al
    dec bh
    jnz 2b
3:  call hue_circle                     // SI: five levels of each circle
    add si, 5
    cmp si, offset circles_end
    jb 3b
    mov cx, 8 * 3
    xor al, al
4:  out dx, al
    loop 4b
    ret

/* 24 hues from blue by magenta, red, yellow, green and cyan: each component stays high for a third of
 * the circle, red and green a third and two thirds behind blue. In: CS:SI = five levels. */
hue_circle:
    xor bl, bl
1:  mov al, bl
    add al, 16
    call hue_component
    mov al, bl
    add al, 8
    call hue_component
    mov al, bl
    call hue_component
    inc bl
    cmp bl, 24
    jb 1b
    ret
hue_component:
    xor ah, ah
    mov cl, 24
    div cl
    movzx di, ah
    mov al, cs:[circle + di]
    movzx di, al
    add di, si
    mov al, cs:[di]
    out dx, al
    ret

circle: .byte 4, 4, 4, 4, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 4, 4, 4

cga_colours:
    .byte 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3A, 0x3B, 0x3C, 0x3D, 0x3E, 0x3F
    .byte 0, 5, 8, 11, 14, 17, 20, 24, 28, 32, 36, 40, 45, 50, 56, 63
    .byte 0, 16, 31, 47, 63,   31, 39, 47, 55, 63,   45, 49, 54, 58, 63
    .byte 0, 7, 14, 21, 28,    14, 17, 21, 24, 28,   20, 22, 24, 26, 28
    .byte 0, 4, 8, 12, 16,     8, 10, 12, 14, 16,    11, 12, 13, 15, 16
circles_end:
