/* INT 10h: cursor and pages.
 *
 * AH=01h shape: CH = first line (bit 5 hides it), CL = last line. Lines of the old 8-line cell are
 *        stretched to the font's height, unless cursor emulation was turned off (AH=12h BL=34h)
 * AH=02h position: BH = page, DH = row, DL = column
 * AH=03h position of page BH: DH, DL, shape in CH, CL
 * AH=05h shows page AL
 */
#include "common.inc"
#include "vga.inc"

    .global int10_01, int10_02, int10_03, int10_05, cursor_shape, cursor_show, text_segment, cell_address

int10_01:
    mov cx, CALLER_CX
/* In: CX = shape. Clobbers AX, BX, CX, DX. */
cursor_shape:
    mov ds:[BDA_CURSOR_TYPE], cx
    test byte ptr ds:[BDA_VIDEO_CTL], 1
    jnz 2f
    mov bl, ds:[BDA_CHAR_HEIGHT]
    cmp bl, 8
    jbe 2f
    test ch, 0xE0
    jnz 2f
    cmp cl, 8
    jae 2f
    cmp ch, cl
    ja 2f
    mov dl, cl                          // thickness, less one
    sub dl, ch
    mov al, bl
    mul ch
    shr ax, 3
    mov ch, al
    mov al, bl
    inc cl
    mul cl
    shr ax, 3
    dec ax
    cmp cl, 7                           // a cursor at the cell's foot ends one line above the last
    mov cl, al
    jb 2f
    dec cl
    cmp dl, 2                           // ... and if thin, stays as thin as it was
    ja 2f
    mov ch, cl
    sub ch, dl
2:  mov dx, ds:[BDA_CRTC]
    mov al, CRTC_CURSOR_START
    mov ah, ch
    and ah, 0x3F
    out dx, ax
    inc al
    mov ah, cl
    and ah, 0x1F
    out dx, ax
    ret

int10_02:
    movzx bx, CALLER_BH
    and bl, 7
    mov si, bx
    shl si, 1
    mov ds:[BDA_CURSOR + si], dx
    cmp bl, ds:[BDA_PAGE]
    je cursor_show
    ret

int10_03:
    movzx bx, CALLER_BH
    and bl, 7
    shl bx, 1
    mov ax, ds:[BDA_CURSOR + bx]
    mov CALLER_DX, ax
    mov ax, ds:[BDA_CURSOR_TYPE]
    mov CALLER_CX, ax
    ret

int10_05:
    cmp al, 7
    ja 1f
    mov ds:[BDA_PAGE], al
    movzx ax, al
    mul word ptr ds:[BDA_PAGE_SIZE]
    mov ds:[BDA_PAGE_START], ax
    mov cx, ax
    call is_graphics
    jc 2f
    shr cx, 1                           // the CRTC counts characters
2:  mov dx, ds:[BDA_CRTC]
    mov al, CRTC_START_HIGH
    call crtc_write_pair
    jmp cursor_show
1:  ret

/* Moves the hardware's cursor to where the shown page has it. Clobbers AX, BX, CX, DX. */
cursor_show:
    call is_graphics
    jc 1f
    movzx bx, byte ptr ds:[BDA_PAGE]
    shl bx, 1
    mov cx, ds:[BDA_CURSOR + bx]
    movzx ax, ch
    mul word ptr ds:[BDA_COLUMNS]
    xor ch, ch
    add cx, ax
    mov ax, ds:[BDA_PAGE_START]
    shr ax, 1
    add cx, ax
    mov dx, ds:[BDA_CRTC]
    mov al, CRTC_CURSOR_HIGH
/* CH to register AL, CL to the next. Clobbers AX. */
crtc_write_pair:
    mov ah, ch
    out dx, ax
    inc al
    mov ah, cl
    out dx, ax
1:  ret

/* Out: ES = where text lies. Clobbers AX. */
text_segment:
    mov ax, 0xB800
    cmp byte ptr ds:[BDA_VIDEO_MODE], 7
    jne 1f
    mov ax, 0xB000
1:  mov es, ax
    ret

/* In: BL = page. Out: ES:DI = the cell under its cursor. Clobbers AX, DX, SI. */
cell_address:
    movzx si, bl
    shl si, 1
    mov dx, ds:[BDA_CURSOR + si]
/* In: BL = page, DH = row, DL = column. */
    .global cell_address_at
cell_address_at:
    movzx si, dl
    movzx ax, dh
    mul word ptr ds:[BDA_COLUMNS]
    add si, ax
    shl si, 1
    movzx ax, bl
    mul word ptr ds:[BDA_PAGE_SIZE]
    add si, ax
    mov di, si
    jmp text_segment
