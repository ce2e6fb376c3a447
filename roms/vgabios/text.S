/* INT 10h: characters.
 *
 * AH=06h scrolls up, 07h down: AL = lines (0: clears), BH = attribute of new lines, CX = upper left,
 *        DX = lower right (row, column)
 * AH=08h reads at the cursor of page BH: AL = character, AH = attribute
 * AH=09h writes AL with attribute BL, CX times; AH=0Ah leaves attributes alone. BH = page
 * AH=0Eh teletype: AL at the shown page's cursor, which moves; BEL, BS, LF and CR act. BL = colour in
 *        graphics modes
 * AH=13h string: ES:BP, CX characters, from DX on; BH = page; AL bit 0 moves the cursor, bit 1 has
 *        attributes in the string, else BL
 * In graphics modes the work is done in pixel.S. Left out: BEL makes no sound.
 */
#include "common.inc"
#include "vga.inc"

    .global int10_06, int10_07, int10_08, int10_09, int10_0a, int10_0e, int10_13

int10_06:
    xor bl, bl
    jmp scroll
int10_07:
    mov bl, 1
/* In: BL = 0 up, 1 down; the caller's AL, BH, CX, DX. */
scroll:
    mov bh, CALLER_BH
    mov cx, CALLER_CX
    mov dx, CALLER_DX
    mov al, CALLER_AL
scroll_window:
    cmp dh, ds:[BDA_LAST_ROW]
    jbe 1f
    mov dh, ds:[BDA_LAST_ROW]
1:  cmp dl, ds:[BDA_COLUMNS]
    jb 2f
    mov dl, ds:[BDA_COLUMNS]
    dec dl
2:  sub dh, ch                          // DH = rows, DL = columns of the window
    jb 9f
    inc dh
    sub dl, cl
    jb 9f
    inc dl
    test al, al
    jz 3f
    cmp al, dh
    jbe 4f
3:  mov al, dh                          // clears the whole window
4:  call is_graphics_keep
    jc graphics_scroll
    push ax
    push dx
    push bx
    test bl, bl                         // start at the row that is written first
    jz 5f
    add ch, dh
    dec ch
5:  mov dx, cx
    mov bl, ds:[BDA_PAGE]
    call cell_address_at
    pop bx
    pop dx
    pop ax
    mov cx, ds:[BDA_COLUMNS]
    shl cx, 1
    test bl, bl
    jz 6f
    neg cx                              // CX = from one row to the next
6:  mov bl, ' '                         // BL, BH: a new cell
    push bp
    mov bp, cx
    push ds
    push es
    pop ds
    movzx cx, al
    sub dh, al                          // rows to move
    push ax
    mov ax, bp
    imul ax, cx
    mov si, di
    add si, ax                          // where they come from
    pop ax
    movzx cx, dl
7:  dec dh
    js 8f
    pusha
    rep movsw
    popa
    add si, bp
    add di, bp
    jmp 7b
8:  mov dh, al
    mov ax, bx
10: pusha
    rep stosw
    popa
    add di, bp
    dec dh
    jnz 10b
    pop ds
    pop bp
9:  ret

/* is_graphics, with AL kept. */
is_graphics_keep:
    push ax
    call is_graphics
    pop ax
    ret

int10_08:
    call is_graphics
    jc graphics_read
    mov bl, CALLER_BH
    call cell_address
    mov ax, es:[di]
    mov CALLER_AX, ax
    ret

int10_09:
    call is_graphics
    jc graphics_write
    mov bl, CALLER_BH
    call cell_address
    mov cx, CALLER_CX
    mov al, CALLER_AL
    mov ah, CALLER_BL
    rep stosw
    ret

int10_0a:
    call is_graphics
    jc graphics_write
    mov bl, CALLER_BH
    call cell_address
    mov cx, CALLER_CX
    mov al, CALLER_AL
    jcxz 2f
1:  stosb
    inc di
    loop 1b
2:  ret

int10_0e:
    mov al, CALLER_AL
    mov bh, ds:[BDA_PAGE]
    mov bl, CALLER_BL
    xor ah, ah
    call teletype
    jmp cursor_show

/* In: AL = character, AH = 0 keeps the cell's attribute, else BL is the new one (and the colour in
 * graphics modes), BH = page. The cursor in the BIOS data area moves. Keeps BX, CX. */
teletype:
    push bx
    push cx
    movzx si, bh
    shl si, 1
    mov dx, ds:[BDA_CURSOR + si]
    cmp al, 0x07
    je 8f
    cmp al, 0x08
    je back
    cmp al, 0x0A
    je line_feed
    cmp al, 0x0D
    je return
    push si
    push dx
    call is_graphics_keep
    jnc 1f
    mov cx, 1
    call graphics_char
    jmp 3f
1:  push bx
    push ax
    mov bl, bh
    call cell_address_at
    pop ax
    pop bx
    stosb
    test ah, ah
    jz 3f
    mov es:[di], bl
3:  pop dx
    pop si
    inc dl
    cmp dl, ds:[BDA_COLUMNS]
    jb 7f
    xor dl, dl
line_feed:
    inc dh
    cmp dh, ds:[BDA_LAST_ROW]
    jbe 7f
    dec dh
    cmp bh, ds:[BDA_PAGE]
    jne 7f                              // only what is shown scrolls
    push si
    push dx
    call new_line_attribute
    xor cx, cx
    mov dh, ds:[BDA_LAST_ROW]
    mov dl, 0xFF
    mov al, 1
    xor bl, bl
    call scroll_window
    pop dx
    pop si
    jmp 7f
back:
    test dl, dl
    jz 8f
    dec dl
    jmp 7f
return:
    xor dl, dl
7:  mov ds:[BDA_CURSOR + si], dx
8:  pop cx
    pop bx
    ret

/* Out: BH = attribute for a line that scrolls in: the one under the cursor, or black. In: BH = page,
 * DX = position. Clobbers AX, SI, DI, ES. */
new_line_attribute:
    call is_graphics
    jc 1f
    push bx
    push dx
    mov bl, bh
    call cell_address_at
    pop dx
    pop bx
    mov bh, es:[di + 1]
    ret
1:  xor bh, bh
    ret

int10_13:
    mov cx, CALLER_CX
    jcxz 9f
    mov bh, CALLER_BH
    and bh, 7
    movzx si, bh
    shl si, 1
    push ds:[BDA_CURSOR + si]
    push si
    mov dx, CALLER_DX
    mov ds:[BDA_CURSOR + si], dx
    mov bl, CALLER_BL
    mov fs, CALLER_ES
    mov di, CALLER_BP
1:  mov al, fs:[di]
    inc di
    test CALLER_AL, 2
    jz 2f
    mov bl, fs:[di]
    inc di
2:  push di
    mov ah, 1
    call teletype
    pop di
    loop 1b
    pop si
    pop ax
    test CALLER_AL, 1
    jnz 3f
    mov ds:[BDA_CURSOR + si], ax
3:  jmp cursor_show
9:  ret
