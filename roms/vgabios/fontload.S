/* INT 10h AH=11h: character generators.
 *
 * AL=00h, 10h user font: BH bytes a character, CX characters from DX on, BL block, ES:BP pictures
 * AL=01h, 11h 8x14   AL=02h, 12h 8x8   AL=04h, 14h 8x16, into block BL
 *       (text modes only); the second of each pair also fits rows, cursor and page size to the new height
 * AL=03h block specifier BL (attribute bit 3 chooses between two blocks)
 * AL=20h INT 1Fh = ES:BP   AL=21h user font ES:BP of CX bytes for graphics   AL=22h-24h 8x14, 8x8, 8x16
 * AL=30h ES:BP = pointer BH: 0 INT 1Fh, 1 INT 43h, 2 8x14, 3 8x8, 4 8x8 from 80h on, 5 8x14, 6, 7 8x16;
 *       CX = bytes a character, DL = rows less one
 * Fonts lie in plane 2, 32 bytes a character, 8 KiB a block.
 */
#include "common.inc"
#include "vga.inc"

    .global int10_11, font_load_default

/* After a mode is set: the font of its height into block 0. */
font_load_default:
    push cs
    pop es
    mov di, offset font_8x16
    mov bh, 16
    xor bl, bl
    mov cx, 256
    xor dx, dx
    jmp font_load

int10_11:
    mov bx, CALLER_BX
    mov es, CALLER_ES
    mov di, CALLER_BP
    cmp al, 0x30
    je information
    ja 1f
    cmp al, 0x20
    jae graphics_font
    cmp al, 0x03
    je block_specifier
    push ax
    call is_graphics                    // there the planes are the picture
    pop ax
    jc 1f
    push ax
    and al, 0x0F
    jz 2f                               // the caller has said all
    call rom_font
    jc 3f
    mov cx, 256
    xor dx, dx
2:  push bx
    call font_load
    pop bx
    pop ax
    test al, 0x10
    jnz fit_height
1:  ret
3:  pop ax
    ret

/* In: AL = 1 8x14, 2 8x8, 4 8x16. Out: ES:DI = font, BH = its height; CF when AL is none of these. */
rom_font:
    push cs
    pop es
    mov bh, 14
    mov di, offset font_8x14
    cmp al, 1
    je 1f
    mov bh, 8
    mov di, offset font_8x8
    cmp al, 2
    je 1f
    mov bh, 16
    mov di, offset font_8x16
    cmp al, 4
    je 1f
    stc
1:  ret

/* Opens plane 2 at A0000h, copies CX pictures of BH bytes from ES:DI to block BL from character DX on,
 * and gives text back its window. Clobbers all but BP, DS. */
font_load:
    push ds
    push cx
    push dx
    mov dx, VGA_SEQUENCER
    INDEXED_OUT 0, 1
    INDEXED_OUT 2, 0x04                 // map mask: plane 2
    INDEXED_OUT 4, 0x07                 // no odd/even
    INDEXED_OUT 0, 3
    mov dx, VGA_GRAPHICS
    INDEXED_OUT 4, 0x02                 // read map
    INDEXED_OUT 5, 0x00
    INDEXED_OUT 6, 0x04                 // A0000h, 64 KiB
    pop dx
    pop cx
    mov si, di
    push es
    pop ds
    mov ax, 0xA000
    mov es, ax
    movzx ax, bl                        // block 0-7: 0, 2, 4, 6, 1, 3, 5, 7 times 8 KiB
    and al, 7
    shl al, 1
    cmp al, 8
    jb 1f
    sub al, 7
1:  shl ax, 13
    shl dx, 5
    add ax, dx
    mov di, ax
    mov bl, bh
    xor bh, bh
    jcxz 3f
2:  push cx
    mov cx, bx
    push di
    rep movsb
    pop di
    add di, 32
    pop cx
    loop 2b
3:  pop ds
    mov dx, VGA_SEQUENCER
    INDEXED_OUT 0, 1
    INDEXED_OUT 2, 0x03
    INDEXED_OUT 4, 0x02
    INDEXED_OUT 0, 3
    mov dx, VGA_GRAPHICS
    INDEXED_OUT 4, 0x00
    INDEXED_OUT 5, 0x10
    mov ax, 0x0E06                      // B8000h
    cmp byte ptr ds:[BDA_VIDEO_MODE], 7
    jne 4f
    mov ax, 0x0A06                      // B0000h
4:  out dx, ax
    ret

/* In: BH = height of the font just loaded. Rows are what the display's lines have room for. */
fit_height:
    movzx cx, bh
    mov ds:[BDA_CHAR_HEIGHT], cx
    mov dx, ds:[BDA_CRTC]
    mov al, 0x09                        // maximum scan line
    out dx, al
    inc dx
    in al, dx
    and al, 0xE0
    mov ah, bh
    dec ah
    or al, ah
    out dx, al
    dec dx
    mov al, 0x12                        // vertical display end; bits 8, 9 in register 7 bits 1, 6
    out dx, al
    inc dx
    in al, dx
    mov bl, al
    dec dx
    mov al, 0x07
    out dx, al
    inc dx
    in al, dx
    mov bh, al
    shr bh, 1
    and bh, 1
    test al, 0x40
    jz 1f
    or bh, 2
1:  mov ax, bx
    inc ax
    div cl
    mov bl, al                          // rows
    dec al
    mov ds:[BDA_LAST_ROW], al
    inc al
    mul byte ptr ds:[BDA_COLUMNS]
    shl ax, 1
    add ax, 0xFF                        // a page, with a little room, in whole 256 bytes
    xor al, al
    mov ds:[BDA_PAGE_SIZE], ax
    mov cx, ds:[BDA_CURSOR_TYPE]
    jmp cursor_shape

block_specifier:
    mov dx, VGA_SEQUENCER
    mov al, 3
    mov ah, bl
    out dx, ax
    ret

graphics_font:
    mov ah, 0x1F
    cmp al, 0x20
    je 2f
    mov bh, cl
    cmp al, 0x21
    je 1f
    sub al, 0x21                        // 22h, 23h, 24h: 1, 2, 3
    cmp al, 3
    jb 3f
    inc al
3:  call rom_font
    jc 4f
1:  movzx cx, bh
    mov ds:[BDA_CHAR_HEIGHT], cx
    mov ah, 0x43
2:  movzx bx, ah
    shl bx, 2
    xor ax, ax
    mov ds, ax
    mov [bx], di
    mov [bx + 2], es
4:  ret

information:
    cmp bh, 7
    ja 4b
    mov cx, ds:[BDA_CHAR_HEIGHT]
    mov CALLER_CX, cx
    mov al, ds:[BDA_LAST_ROW]
    mov CALLER_DL, al
    cmp bh, 1
    ja 2f
    mov si, 0x1F * 4
    jb 1f
    mov si, 0x43 * 4
1:  xor ax, ax
    mov es, ax
    les di, es:[si]
    jmp 3f
2:  movzx si, bh
    shl si, 1
    push cs
    pop es
    mov di, cs:[si + fonts - 4]
3:  mov CALLER_ES, es
    mov CALLER_BP, di
    ret

fonts:
    .word font_8x14, font_8x8, font_8x8 + 128 * 8, font_8x14, font_8x16, font_8x16
