/* Graphics modes: characters and pixels, in 16 colours over four planes and in mode 13h's 256. CGA's modes are in cga.S.
 * In VBE's modes text is the caller's business: nothing is drawn.
 *
 * INT 10h AH=0Ch: pixel at column CX, row DX of page BH gets colour AL (bit 7 in 16 colours: XOR)
 *         AH=0Dh: AL = its colour
 * The planes are written through set/reset and the bit mask (IBM VGA, "Graphics controller").
 */
#include "common.inc"
#include "vga.inc"

#define GC_SET_RESET    0
#define GC_ENABLE_SET   1
#define GC_COMPARE      2
#define GC_FUNCTION     3
#define GC_READ_MAP     4
#define GC_MODE         5
#define GC_CARE         7
#define GC_BIT_MASK     8
#define FUNCTION_XOR    0x18
#define MODE_256        0x13

    .global int10_0c, int10_0d, graphics_char, graphics_write, graphics_read, graphics_scroll

/* Out: ZF in CGA's graphics modes, CF in VBE's modes. Keeps every register. */
graphics_kind:
    push ax
    mov al, ds:[BDA_VIDEO_MODE]
    cmp al, MODE_VBE
    je 2f
    cmp al, 6
    ja 1f
    cmp al, al
1:  pop ax
    ret
2:  cmp al, MODE_VBE + 1                // CF and no ZF
    pop ax
    ret

/* In: BH = page, DH = row, DL = column of a character. Out: ES:DI = its first byte, CX = bytes from one
 * line to the next. Clobbers AX, DX. */
place:
    mov ax, 0xA000
    mov es, ax
    mov cx, ds:[BDA_COLUMNS]
    movzx di, dl
    cmp byte ptr ds:[BDA_VIDEO_MODE], MODE_256
    jne 1f
    shl cx, 3
    shl di, 3
1:  mov al, dh
    mul byte ptr ds:[BDA_CHAR_HEIGHT]
    mul cx
    add di, ax
    movzx ax, bh
    mul word ptr ds:[BDA_PAGE_SIZE]
    add di, ax
    ret

/* In: BL = colour: set/reset takes it, with XOR when bit 7 says so. Clobbers AX, DX. */
planes_begin:
    mov dx, VGA_GRAPHICS
    mov ah, bl
    and ah, 0x0F
    mov al, GC_SET_RESET
    out dx, ax
    INDEXED_OUT GC_ENABLE_SET, 0x0F
    mov ah, FUNCTION_XOR
    test bl, 0x80
    jnz 1f
    xor ah, ah
1:  mov al, GC_FUNCTION
    out dx, ax
    ret

/* As the mode had them. Clobbers AX, DX. */
planes_end:
    mov dx, VGA_GRAPHICS
    INDEXED_OUT GC_SET_RESET, 0
    INDEXED_OUT GC_ENABLE_SET, 0
    INDEXED_OUT GC_FUNCTION, 0
    INDEXED_OUT GC_MODE, 0
    INDEXED_OUT GC_BIT_MASK, 0xFF
    ret

/* In: AL = character, BL = colour, BH = page, DX = row and column. Keeps every register. */
graphics_char:
    call graphics_kind
    je cga_char
    jc 8f
    pusha
    push es
    push fs
    push bp
    push ax
    call place
    pop ax
    xor dx, dx
    mov fs, dx
    lfs si, fs:[0x43 * 4]
    mul byte ptr ds:[BDA_CHAR_HEIGHT]
    add si, ax                          // FS:SI = its picture
    mov bp, ds:[BDA_CHAR_HEIGHT]
    cmp byte ptr ds:[BDA_VIDEO_MODE], MODE_256
    je 5f
    test bl, 0x80
    jnz 2f
    push bx                             // background first: the whole cell black
    xor bl, bl
    call planes_begin
    pop bx
    push di
    push bp
1:  mov es:[di], al
    add di, cx
    dec bp
    jnz 1b
    pop bp
    pop di
2:  call planes_begin
3:  mov ah, fs:[si]
    inc si
    mov al, GC_BIT_MASK
    out dx, ax
    mov al, es:[di]                     // fills the latches
    mov es:[di], al
    add di, cx
    dec bp
    jnz 3b
    call planes_end
4:  pop bp
    pop fs
    pop es
    popa
8:  ret
5:  mov ah, fs:[si]
    inc si
    push di
    mov dx, 8
6:  xor al, al
    shl ah, 1
    jnc 7f
    mov al, bl
7:  stosb
    dec dx
    jnz 6b
    pop di
    add di, cx
    dec bp
    jnz 5b
    jmp 4b

/* INT 10h AH=09h and 0Ah. */
graphics_write:
    mov bx, CALLER_BX
    movzx si, bh
    shl si, 1
    mov dx, ds:[BDA_CURSOR + si]
    mov cx, CALLER_CX
    mov al, CALLER_AL
    jcxz 2f
1:  call graphics_char
    inc dl
    cmp dl, ds:[BDA_COLUMNS]
    jb 3f
    xor dl, dl
    inc dh
    cmp dh, ds:[BDA_LAST_ROW]
    ja 2f
3:  loop 1b
2:  ret

/* INT 10h AH=08h: AL = the character whose picture is there, 0 when it is none. */
graphics_read:
    mov bh, CALLER_BH
    movzx si, bh
    shl si, 1
    mov dx, ds:[BDA_CURSOR + si]
    call graphics_kind
    je cga_read
    jc 8f
    call place
    mov bx, sp
    sub sp, 32                          // the picture, at most 32 lines
    mov si, sp
    push bx
    push bp
    mov bp, ds:[BDA_CHAR_HEIGHT]
    mov dx, VGA_GRAPHICS
    cmp byte ptr ds:[BDA_VIDEO_MODE], MODE_256
    je 1f
    INDEXED_OUT GC_MODE, 0x08           // read mode 1: ones where the colour is 0
    INDEXED_OUT GC_COMPARE, 0
1:  cmp byte ptr ds:[BDA_VIDEO_MODE], MODE_256
    je 2f
    mov al, es:[di]
    not al
    jmp 4f
2:  push di
    mov ah, 8
3:  cmp byte ptr es:[di], 1             // CF where the colour is 0
    cmc
    rcl al, 1
    inc di
    dec ah
    jnz 3b
    pop di
4:  mov ss:[si], al
    inc si
    add di, cx
    dec bp
    jnz 1b
    cmp byte ptr ds:[BDA_VIDEO_MODE], MODE_256
    je 7f
    call planes_end
7:  mov dx, ds:[BDA_CHAR_HEIGHT]
    sub si, dx
    xor ax, ax
    mov es, ax
    les di, es:[0x43 * 4]
    push ds
    push ss
    pop ds
5:  push si
    push di
    mov cx, dx
    repe cmpsb
    pop di
    pop si
    je 6f
    add di, dx
    inc al
    jnz 5b
6:  pop ds
    pop bp
    pop sp
    mov CALLER_AL, al
8:  ret

/* In: AL = lines, BL = 0 up, 1 down, BH = fill, CX = upper left, DH = rows, DL = columns. */
    .global graphics_scroll
graphics_scroll:
    call graphics_kind
    je cga_scroll
    jc 11f
    push bp
    push ds
    push ax
    push bx
    push dx
    test bl, bl
    jz 1f
    add ch, dh                          // downwards: begin at the line below the window
1:  mov dx, cx
    mov bh, ds:[BDA_PAGE]
    call place
    pop dx
    pop bx
    pop ax
    test bl, bl
    jz 2f
    sub di, cx                          // ... its last line
2:  mov bp, cx
    movzx cx, dl                        // CX = bytes in a line of the window
    cmp byte ptr ds:[BDA_VIDEO_MODE], MODE_256
    je 3f
    push ax
    push dx
    push bx
    mov bl, bh
    and bl, 0x0F
    call planes_begin
    INDEXED_OUT GC_MODE, 0x01           // write mode 1: latches to memory
    pop bx
    pop dx
    pop ax
    jmp 4f
3:  shl cx, 3
4:  sub dh, al
    push ax
    mul byte ptr ds:[BDA_CHAR_HEIGHT]
    push ax                             // lines to fill
    test bl, bl
    jz 5f
    neg bp
5:  push dx
    imul ax, bp
    mov si, di
    add si, ax
    pop dx
    mov al, dh
    mul byte ptr ds:[BDA_CHAR_HEIGHT]   // lines to move
    push es
    pop ds
6:  sub ax, 1
    jc 7f
    pusha
    rep movsb
    popa
    add si, bp
    add di, bp
    jmp 6b
7:  push BDA_SEG
    pop ds
    cmp byte ptr ds:[BDA_VIDEO_MODE], MODE_256
    je 8f
    mov dx, VGA_GRAPHICS
    INDEXED_OUT GC_MODE, 0              // set/reset gives the colour
8:  pop dx
    mov al, bh
9:  pusha
    rep stosb
    popa
    add di, bp
    dec dx
    jnz 9b
    pop ax
    cmp byte ptr ds:[BDA_VIDEO_MODE], MODE_256
    je 10f
    call planes_end
10: pop ds
    pop bp
11: ret

/* In: the caller's BH, CX, DX. Out: ES:DI = byte, AH = mask in it (16 colours). Clobbers BX, CX, DX. */
pixel_address:
    mov ax, 0xA000
    mov es, ax
    movzx ax, CALLER_BH
    mul word ptr ds:[BDA_PAGE_SIZE]
    mov di, ax
    mov bx, ds:[BDA_COLUMNS]
    cmp byte ptr ds:[BDA_VIDEO_MODE], MODE_256
    mov cx, CALLER_CX
    jne 1f
    shl bx, 3
    add di, cx
    jmp 2f
1:  mov ax, cx
    shr ax, 3
    add di, ax
2:  mov ax, CALLER_DX
    mul bx
    add di, ax
    and cl, 7
    mov ah, 0x80
    shr ah, cl
    ret

int10_0c:
    call is_graphics
    jnc 2f
    call graphics_kind
    je cga_write_pixel
    jc 2f
    call pixel_address
    mov bl, CALLER_AL
    cmp byte ptr ds:[BDA_VIDEO_MODE], MODE_256
    je 1f
    push ax
    call planes_begin
    pop ax
    mov al, GC_BIT_MASK
    out dx, ax
    mov al, es:[di]
    mov es:[di], al
    jmp planes_end
1:  mov es:[di], bl
2:  ret

int10_0d:
    call is_graphics
    jnc 2f
    call graphics_kind
    je cga_read_pixel
    jc 2f
    call pixel_address
    cmp byte ptr ds:[BDA_VIDEO_MODE], MODE_256
    je 3f
    mov bh, ah
    xor bl, bl
    mov dx, VGA_GRAPHICS
    mov ax, 3 << 8 | GC_READ_MAP
1:  out dx, ax
    mov cl, es:[di]
    and cl, bh
    neg cl                              // CF when the plane has the bit
    rcl bl, 1
    dec ah
    jns 1b
    INDEXED_OUT GC_READ_MAP, 0
    mov CALLER_AL, bl
2:  ret
3:  mov al, es:[di]
    mov CALLER_AL, al
    ret
