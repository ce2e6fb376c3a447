/* CGA's graphics modes, 4 to 6: characters, pixels, scrolling and colours.
 *
 * INT 10h AH=0Bh: BH=0: BL = background (graphics) or border, bit 4 the bright colours in modes 4 and 5;
 *         BH=1: BL bit 0 = 0 green, red, brown, 1 cyan, magenta, white
 * A line has 80 bytes, four pixels in each (mode 6: eight), the leftmost in the highest bits; odd lines lie 2000h behind
 * the even ones. Characters from 80h on come from INT 1Fh, the others from INT 43h.
 */
#include "common.inc"
#include "vga.inc"

#define CGA_SEG     0xB800
#define ODD_LINES   0x2000
#define LINE_BYTES  80
#define MODE_TWO    6
#define OVERSCAN    0x11

    .global int10_0b, cga_char, cga_read, cga_scroll, cga_write_pixel, cga_read_pixel

/* In: DH = row, DL = column of a character. Out: ES:DI = its first byte. Clobbers AX. */
cga_place:
    push CGA_SEG
    pop es
    mov al, LINE_BYTES
    mul dh
    shl ax, 2                           // a row has four pairs of lines
    mov di, ax
    movzx ax, dl
    cmp byte ptr ds:[BDA_VIDEO_MODE], MODE_TWO
    je 1f
    shl ax, 1
1:  add di, ax
    ret

/* ES:DI to the next line. */
.macro NEXT_LINE
    xor di, ODD_LINES
    test di, ODD_LINES
    jnz 99f
    add di, LINE_BYTES
99:
.endm

/* In: AL = character. Out: FS:SI = its picture. Clobbers AX. */
cga_picture:
    xor si, si
    mov fs, si
    test al, 0x80
    jnz 1f
    lfs si, fs:[0x43 * 4]
    jmp 2f
1:  lfs si, fs:[0x1F * 4]
    and al, 0x7F
2:  movzx ax, al
    shl ax, 3
    add si, ax
    ret

/* In: AL = eight pixels, BL = colour. Out: AX = a word of four colours as it lies in memory. */
in_colour:
    push cx
    push dx
    xor dx, dx
    mov cx, 8
1:  shl dx, 2
    shl al, 1
    jnc 2f
    or dl, 3
2:  loop 1b
    mov al, bl
    call four_pixels
    mov ah, al
    and ax, dx
    xchg al, ah
    pop dx
    pop cx
    ret

/* In: AL = colour. Out: AL = four pixels of it. Clobbers AH. */
four_pixels:
    and al, 3
    mov ah, 0x55
    mul ah
    ret

/* In: AL = character, BL = colour (bit 7: XOR), DX = row and column. Keeps every register. */
cga_char:
    pusha
    push es
    push fs
    push ax
    call cga_place
    pop ax
    call cga_picture
    mov cx, 8
1:  mov al, fs:[si]
    inc si
    cmp byte ptr ds:[BDA_VIDEO_MODE], MODE_TWO
    jne 4f
    test bl, 1
    jnz 2f
    xor al, al
2:  test bl, 0x80
    jnz 3f
    mov byte ptr es:[di], 0
3:  xor es:[di], al
    jmp 6f
4:  call in_colour
    test bl, 0x80
    jnz 5f
    mov word ptr es:[di], 0
5:  xor es:[di], ax
6:  NEXT_LINE
    loop 1b
    pop fs
    pop es
    popa
    ret

/* In: DX = row and column. Out: the caller's AL = the character whose picture is there, 0 when it is none. */
cga_read:
    call cga_place
    push bp
    sub sp, 8
    mov bp, sp
    mov cx, 8
    xor si, si
1:  mov al, es:[di]
    cmp byte ptr ds:[BDA_VIDEO_MODE], MODE_TWO
    je 3f
    mov ax, es:[di]
    xchg al, ah
    mov dx, 8
2:  shl bl, 1                           // a pixel for every pair that is not 0
    test ah, 0xC0
    jz 4f
    or bl, 1
4:  shl ax, 2
    dec dx
    jnz 2b
    mov al, bl
3:  mov [bp + si], al
    inc si
    NEXT_LINE
    loop 1b
    xor dl, dl
5:  mov al, dl
    call cga_picture
    push ss
    pop es
    mov di, bp
    mov cx, 8
6:  mov al, fs:[si]
    inc si
    cmp al, es:[di]
    jne 7f
    inc di
    loop 6b
    jmp 8f
7:  inc dl
    jnz 5b
8:  add sp, 8
    pop bp
    mov CALLER_AL, dl
    ret

/* What scrolling knows, on its stack frame. */
#define TO_LINE     word ptr [bp - 2]
#define STEP        word ptr [bp - 4]
#define DISTANCE    word ptr [bp - 6]   /* from there to where lines come from */
#define FIRST_BYTE  word ptr [bp - 8]   /* of a line */

/* In: AX = a line of the screen. Out: AX = where the window's part of it begins. */
line_of_window:
    push dx
    push ax
    shr ax, 1
    mov dx, LINE_BYTES
    mul dx
    pop dx
    test dl, 1
    jz 1f
    add ax, ODD_LINES
1:  add ax, FIRST_BYTE
    pop dx
    ret

/* In: AL = rows, BL = 0 up, 1 down, BH = fill, CX = upper left, DH = rows, DL = columns. */
cga_scroll:
    push bp
    mov bp, sp
    sub sp, 8
    push ds
    movzx si, al
    shl si, 3
    mov DISTANCE, si
    movzx di, ch
    shl di, 3
    mov TO_LINE, di
    mov STEP, 1
    movzx ax, dh
    shl ax, 3                           // lines of the window
    test bl, bl
    jz 1f
    add TO_LINE, ax                     // downwards: from its last line
    dec TO_LINE
    neg STEP
    neg DISTANCE
1:  sub ax, si
    push ax                             // lines to move
    movzx ax, cl
    movzx cx, dl                        // bytes in a line of the window
    cmp byte ptr ds:[BDA_VIDEO_MODE], MODE_TWO
    je 2f
    shl ax, 1
    shl cx, 1
    mov FIRST_BYTE, ax
    mov al, bh
    call four_pixels
    jmp 3f
2:  mov FIRST_BYTE, ax
    mov al, bh
    and al, 1
    neg al
3:  mov bl, al
    mov dx, CGA_SEG
    mov ds, dx
    mov es, dx
    pop dx
4:  sub dx, 1
    jc 5f
    mov ax, TO_LINE
    add ax, DISTANCE
    call line_of_window
    push si
    mov si, ax
    mov ax, TO_LINE
    call line_of_window
    mov di, ax
    push cx
    rep movsb
    pop cx
    pop si
    mov ax, STEP
    add TO_LINE, ax
    jmp 4b
5:  mov ax, TO_LINE
    call line_of_window
    mov di, ax
    mov al, bl
    push cx
    rep stosb
    pop cx
    mov ax, STEP
    add TO_LINE, ax
    dec si
    jnz 5b
    pop ds
    mov sp, bp
    pop bp
    ret

/* In: the caller's CX, DX. Out: ES:DI = byte of the pixel, CL = bits to its right, CH = its bits, at the right. */
pixel_place:
    push CGA_SEG
    pop es
    mov ax, CALLER_DX
    mov bx, ax
    shr ax, 1
    mov dx, LINE_BYTES
    mul dx
    mov di, ax
    test bl, 1
    jz 1f
    add di, ODD_LINES
1:  mov ax, CALLER_CX
    mov cl, al
    not cl
    cmp byte ptr ds:[BDA_VIDEO_MODE], MODE_TWO
    je 2f
    shr ax, 2
    add di, ax
    and cl, 3
    shl cl, 1
    mov ch, 3
    ret
2:  shr ax, 3
    add di, ax
    and cl, 7
    mov ch, 1
    ret

cga_write_pixel:
    call pixel_place
    mov al, CALLER_AL
    and al, ch
    shl al, cl
    shl ch, cl
    test CALLER_AL, 0x80
    jnz 1f
    not ch
    and es:[di], ch
1:  xor es:[di], al
    ret

cga_read_pixel:
    call pixel_place
    mov al, es:[di]
    shr al, cl
    and al, ch
    mov CALLER_AL, al
    ret

int10_0b:
    mov bx, CALLER_BX
    mov cl, ds:[BDA_CGA_COLOUR]
    cmp bh, 1
    ja 3f
    je 1f
    and cl, 0xE0
    mov al, bl
    and al, 0x1F
    or cl, al
    mov ds:[BDA_CGA_COLOUR], cl
    mov ah, bl                          // CGA's sixteen are attributes 00h to 07h and 10h to 17h
    and ah, 7
    test bl, 8
    jz 4f
    or ah, 0x10
4:  mov al, OVERSCAN
    push ax
    call attribute_write
    pop ax
    push ax
    call is_graphics
    pop ax
    jnc 3f
    xor al, al
    call attribute_write
    jmp 2f
1:  and cl, 0xDF
    shl bl, 5
    and bl, 0x20
    or cl, bl
    mov ds:[BDA_CGA_COLOUR], cl
/* Colours 1 to 3 of modes 4 and 5. In: CL = what the BIOS data area has. */
2:  mov al, ds:[BDA_VIDEO_MODE]
    and al, 0xFE
    cmp al, 4
    jne 3f
    mov ah, cl
    and ah, 0x10
    or ah, 2
    test cl, 0x20
    jz 5f
    inc ah
5:  mov al, 1
6:  push ax
    call attribute_write
    pop ax
    add ah, 2
    inc al
    cmp al, 3
    jbe 6b
3:  ret
