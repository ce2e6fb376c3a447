/* INT 10h in text: teletype, cursor, scrolling, attributes, fonts, palette. */
#include "test.inc"

main:
    mov ah, 0x0F
    int 0x10
    EXPECT_EQUAL(ax, 0x5003, "POST leaves mode 3")
    mov ax, 0x0003
    int 0x10
    mov ax, 0xB800
    mov fs, ax
    EXPECT_EQUAL(dword ptr fs:[0], 0x07200720, "a new screen is blank")
    EXPECT_EQUAL(dword ptr fs:[0x7FFC], 0x07200720, "... to its end")
    mov ah, 0x03
    mov bh, 0
    int 0x10
    EXPECT_EQUAL(dx, 0, "... with the cursor at its corner")
    EXPECT_EQUAL(cx, 0x0607, "... and its usual shape")

/* Teletype: plain, CR, LF, BS. */
    mov si, offset text_hello
1:  lodsb
    test al, al
    jz 2f
    mov ah, 0x0E
    mov bx, 0
    int 0x10
    jmp 1b
2:  EXPECT_EQUAL(byte ptr fs:[0], 'h', "teletype writes")
    EXPECT_EQUAL(byte ptr fs:[1], 0x07, "... and leaves the attribute")
    EXPECT_EQUAL(byte ptr fs:[160], 'w', "CR and LF begin the next line")
    EXPECT_EQUAL(byte ptr fs:[162], 'X', "BS goes back")
    mov ah, 0x03
    mov bh, 0
    int 0x10
    EXPECT_EQUAL(dx, 0x0102, "the cursor follows")
    mov dx, 0x3D4
    mov al, 0x0E
    out dx, al
    inc dx
    in al, dx
    mov bh, al
    dec dx
    mov al, 0x0F
    out dx, al
    inc dx
    in al, dx
    mov bl, al
    EXPECT_EQUAL(bx, 82, "... on the CRTC too")

/* The end of the last line scrolls. */
    mov ah, 0x02
    mov bh, 0
    mov dx, 0x184F
    int 0x10
    mov ax, 0x0E21
    int 0x10
    EXPECT_EQUAL(byte ptr fs:[23 * 160 + 158], '!', "the last cell scrolls up")
    EXPECT_EQUAL(byte ptr fs:[0], 'w', "... and the rest with it")
    EXPECT_EQUAL(byte ptr fs:[24 * 160], ' ', "... a new line comes in")
    mov ah, 0x03
    mov bh, 0
    int 0x10
    EXPECT_EQUAL(dx, 0x1800, "... under the cursor")

/* Read back, write with attribute. */
    mov ah, 0x02
    mov bh, 0
    mov dx, 0x0A0A
    int 0x10
    mov ax, 0x0941
    mov bx, 0x001E
    mov cx, 3
    int 0x10
    mov ah, 0x08
    mov bh, 0
    int 0x10
    EXPECT_EQUAL(ax, 0x1E41, "09h writes, 08h reads")
    EXPECT_EQUAL(word ptr fs:[10 * 160 + 24], 0x1E41, "... three of them")
    EXPECT_EQUAL(word ptr fs:[10 * 160 + 26], 0x0720, "... no more")
    mov ax, 0x0A42
    mov bx, 0x0055
    mov cx, 1
    int 0x10
    EXPECT_EQUAL(word ptr fs:[10 * 160 + 20], 0x1E42, "0Ah keeps the attribute")

/* A window down by one, then up by two, then cleared. */
    mov ax, 0x0701
    mov bh, 0x4F
    mov cx, 0x0A09
    mov dx, 0x0C0D
    int 0x10
    EXPECT_EQUAL(word ptr fs:[11 * 160 + 20], 0x1E42, "07h scrolls a window down")
    EXPECT_EQUAL(word ptr fs:[10 * 160 + 20], 0x4F20, "... fills the new line")
    EXPECT_EQUAL(word ptr fs:[10 * 160 + 28], 0x0720, "... and only the window")
    mov ax, 0x0602
    mov bh, 0x2F
    mov cx, 0x0909
    mov dx, 0x0C0D
    int 0x10
    EXPECT_EQUAL(word ptr fs:[9 * 160 + 20], 0x1E42, "06h scrolls up")
    EXPECT_EQUAL(word ptr fs:[12 * 160 + 20], 0x2F20, "... by two")
    EXPECT_EQUAL(word ptr fs:[11 * 160 + 20], 0x2F20, "... lines")
    mov ax, 0x0600
    mov bh, 0x17
    xor cx, cx
    mov dx, 0x184F
    int 0x10
    EXPECT_EQUAL(word ptr fs:[0], 0x1720, "06h clears")
    EXPECT_EQUAL(word ptr fs:[24 * 160 + 158], 0x1720, "... everything")

/* String, with attributes in it. */
    mov ax, 0x1303
    mov bx, 0x0000
    mov cx, 2
    mov dx, 0x0505
    push bp
    mov bp, offset text_coloured
    int 0x10
    pop bp
    EXPECT_EQUAL(dword ptr fs:[5 * 160 + 10], 0x0C620A61, "13h writes a string")

/* Pages. */
    mov ax, 0x0501
    int 0x10
    mov ax, 0x0E70
    int 0x10
    EXPECT_EQUAL(byte ptr fs:[0x1000], 'p', "page 1 lies at 1000h")
    mov dx, 0x3D4
    mov al, 0x0C
    out dx, al
    inc dx
    in al, dx
    EXPECT_EQUAL(al, 0x08, "... and is what the CRTC shows")
    mov ax, 0x0500
    int 0x10

/* Mode 1, mode 7, mode 3 without clearing. */
    mov ax, 0x0001
    int 0x10
    mov ah, 0x0F
    int 0x10
    EXPECT_EQUAL(ah, 40, "mode 1 has 40 columns")
    mov ax, 0x0007
    int 0x10
    EXPECT_EQUAL(word ptr ds:[0x463], 0x3B4, "mode 7 has its CRTC at 3B4h")
    mov ax, 0x0E4D
    int 0x10
    mov ax, 0xB000
    mov gs, ax
    EXPECT_EQUAL(byte ptr gs:[0], 'M', "... and its screen at B000h")
    mov ax, 0x0003
    int 0x10
    mov dword ptr fs:[0], 0x07410742
    mov ax, 0x0083
    int 0x10
    EXPECT_EQUAL(dword ptr fs:[0], 0x07410742, "bit 7 keeps the screen")
    mov ah, 0x0F
    int 0x10
    EXPECT_EQUAL(al, 0x83, "... and shows in 0Fh")
    mov ax, 0x0003
    int 0x10

/* Fonts: 8x8 makes 50 lines; the pictures are where 1130h says. */
    mov ax, 0x1112
    mov bl, 0
    int 0x10
    EXPECT_EQUAL(byte ptr ds:[0x484], 49, "8x8 makes 50 lines")
    mov ax, 0x1114
    mov bl, 0
    int 0x10
    EXPECT_EQUAL(byte ptr ds:[0x484], 24, "8x16 makes 25")
    mov ax, 0x1130
    mov bh, 6
    push bp
    int 0x10
    mov di, bp
    pop bp
    EXPECT_EQUAL(cx, 16, "1130h tells the height")
    EXPECT_EQUAL(dl, 24, "... and the rows")
    mov eax, es:[di + 0xDB * 16]
    EXPECT_EQUAL(eax, 0xFFFFFFFF, "a full block is full")
    mov eax, es:[di + ' ' * 16 + 4]
    EXPECT_EQUAL(eax, 0, "a space is empty")
    xor ax, ax
    mov es, ax

/* The digital-to-analogue converter. */
    mov ax, 0x1010
    mov bx, 20
    mov dh, 1
    mov cx, 0x0203
    int 0x10
    xor cx, cx
    xor dx, dx
    mov ax, 0x1015
    mov bx, 20
    int 0x10
    EXPECT_EQUAL(cx, 0x0203, "DAC green and blue read back")
    EXPECT_EQUAL(dh, 0x01, "DAC red reads back")
    mov ax, 0x1015
    mov bx, 0x3F
    int 0x10
    EXPECT_EQUAL(cx, 0x3F3F, "colour 3Fh is white")
    mov ax, 0x1007
    mov bl, 6
    int 0x10
    EXPECT_EQUAL(bh, 0x14, "palette register 6 is brown")

    mov ax, 0x1A00
    int 0x10
    EXPECT_EQUAL(al, 0x1A, "1Ah answers")
    EXPECT_EQUAL(bl, 8, "... VGA with colour display")
    mov ah, 0x12
    mov bl, 0x10
    int 0x10
    EXPECT_EQUAL(bx, 0x0003, "12h tells 256 KiB, colour")
    mov ax, 0x1B00
    xor bx, bx
    mov di, 0x3000
    int 0x10
    EXPECT_EQUAL(al, 0x1B, "1Bh answers")
    EXPECT_EQUAL(word ptr ds:[0x3005], 80, "... 80 columns")
    call vbe

/* Graphics: a pixel, and a letter that can be read back, in each kind of mode. The pixel's colour is 5, cut to what there
 * is room for. */
    mov si, offset graphics_modes
3:  lodsw
    push si
    mov ds:[PIXEL], ah
    xor ah, ah
    push ax
    int 0x10
    pop dx
    mov ah, 0x0F
    int 0x10
    EXPECT_EQUAL(al, dl, "a graphics mode is set")
    call graphics
    pop si
    cmp si, offset graphics_modes_end
    jb 3b
    mov ax, 0x0004
    int 0x10
    mov dword ptr fs:[0], 0
    mov ax, 0x0C02
    mov bh, 0
    mov cx, 5
    mov dx, 3
    int 0x10
    EXPECT_EQUAL(byte ptr fs:[0x2000 + 80 + 1], 0x20, "mode 4 has two bits for a pixel, odd lines at 2000h")
    mov ax, 0x0B00
    mov bx, 0x0100
    int 0x10
    mov ax, 0x1007
    mov bl, 3
    int 0x10
    EXPECT_EQUAL(bh, 0x16, "0Bh chooses green, red and brown")
    mov ax, 0x0B00
    mov bx, 0x0001
    int 0x10
    mov ax, 0x1007
    mov bl, 3
    int 0x10
    EXPECT_EQUAL(bh, 0x06, "... their dark ones")
    mov ax, 0x1007
    mov bl, 0
    int 0x10
    EXPECT_EQUAL(bh, 0x01, "... and a blue background")
    mov ax, 0x000F
    int 0x10
    EXPECT_EQUAL(word ptr ds:[0x463], 0x3B4, "mode 0Fh is monochrome")
    mov ax, 0x1A00
    int 0x10
    EXPECT_EQUAL(bl, 7, "... and says so")
    mov ax, 0x0003
    int 0x10
    jmp finish

/* Each mode, and what a pixel of colour 5 is in it. */
graphics_modes:
    .byte 0x04, 1, 0x05, 1, 0x06, 1, 0x0D, 5, 0x0E, 5, 0x0F, 5, 0x10, 5, 0x11, 5, 0x12, 5, 0x13, 5
graphics_modes_end:
    .equ PIXEL, 0x3100

graphics:
    mov ax, 0x0C05
    mov bh, 0
    mov cx, 301
    mov dx, 77
    int 0x10
    mov ah, 0x0D
    int 0x10
    EXPECT_EQUAL(al, byte ptr ds:[PIXEL], "a pixel reads back")
    inc cx
    mov ah, 0x0D
    int 0x10
    EXPECT_EQUAL(al, 0, "... its neighbour is black")
    mov ah, 0x02
    mov bh, 0
    mov dx, 0x0302
    int 0x10
    mov ax, 0x0947
    mov bx, 0x000F
    mov cx, 1
    int 0x10
    mov ah, 0x08
    mov bh, 0
    int 0x10
    EXPECT_EQUAL(al, 'G', "a letter reads back")
    mov ax, 0x0602
    mov bh, 0
    xor cx, cx
    mov dx, 0x184F
    int 0x10
    mov ah, 0x02
    mov dx, 0x0102
    int 0x10
    mov ah, 0x08
    int 0x10
    EXPECT_EQUAL(al, 'G', "... after scrolling up by two")
    mov ax, 0x0701
    mov bh, 0
    xor cx, cx
    mov dx, 0x184F
    int 0x10
    mov ah, 0x02
    mov dx, 0x0202
    int 0x10
    mov ah, 0x08
    int 0x10
    EXPECT_EQUAL(al, 'G', "... and down by one")
    ret

/* VESA BIOS Extension. Its answers lie at 3000h. */
vbe:
    mov dword ptr ds:[0x3000], 0x32454256
    mov ax, 0x4F00
    mov di, 0x3000
    int 0x10
    EXPECT_EQUAL(ax, 0x004F, "VBE is there")
    EXPECT_EQUAL(dword ptr ds:[0x3000], 0x41534556, "... VESA")
    EXPECT_EQUAL(word ptr ds:[0x3004], 0x0200, "... 2.0")
    EXPECT_EQUAL(word ptr ds:[0x3012], 256, "... with 16 MiB")
    lgs si, ds:[0x300E]
    xor dx, dx
1:  mov cx, gs:[si]                     // every mode of the list is told about
    add si, 2
    cmp cx, 0xFFFF
    je 2f
    mov ax, 0x4F01
    mov di, 0x3000
    int 0x10
    cmp ax, 0x004F
    jne 2f
    cmp byte ptr ds:[0x3000], 0x9B
    jne 2f
    inc dx
    jmp 1b
2:  EXPECT_EQUAL(dx, 26, "... and 26 modes")
    mov ax, 0x4F01
    mov cx, 0x0115
    mov di, 0x3000
    int 0x10
    EXPECT_EQUAL(word ptr ds:[0x3012], 800, "mode 115h is 800")
    EXPECT_EQUAL(word ptr ds:[0x3014], 600, "... by 600")
    EXPECT_EQUAL(byte ptr ds:[0x3019], 24, "... of 24 bits")
    EXPECT_EQUAL(word ptr ds:[0x3010], 2400, "... 2400 bytes a line")
    EXPECT_EQUAL(dword ptr ds:[0x301F], 0x08081008, "... red at 16, green at 8")
    mov eax, ds:[0x3028]
    and eax, 0xF0FFFFFF
    EXPECT_EQUAL(eax, 0xF0000000, "... and its memory where PCI has it")
    mov ax, 0x4F01
    mov cx, 0x0155
    int 0x10
    EXPECT_EQUAL(ax, 0x014F, "mode 155h is none")
    mov ax, 0x4F02
    mov bx, 0x4155
    int 0x10
    EXPECT_EQUAL(ax, 0x014F, "... and cannot be set")
    mov ax, 0x4F02
    mov bx, 0x4101
    int 0x10
    EXPECT_EQUAL(ax, 0x004F, "mode 101h is set")
    mov ax, 0x4F03
    int 0x10
    EXPECT_EQUAL(bx, 0x4101, "... and 4F03h says so")
    mov ax, 0x4F05                      // the second bank begins in line 102, at column 256
    xor bx, bx
    mov dx, 1
    int 0x10
    EXPECT_EQUAL(ax, 0x004F, "the window moves")
    mov ax, 0xA000
    mov gs, ax
    mov byte ptr gs:[0], 0x77
    lgs si, ds:[0x300C]
    mov word ptr ds:[0x3200], si
    mov word ptr ds:[0x3202], gs
    xor bx, bx
    xor dx, dx
    call dword ptr ds:[0x3200]
    mov ax, 0x4F05
    mov bx, 0x0100
    int 0x10
    EXPECT_EQUAL(dx, 0, "... also by the far call")
    mov ax, 0xA000
    mov gs, ax
    EXPECT_EQUAL(byte ptr gs:[0], 0, "... to other memory")
    mov ax, 0x4F06
    mov bl, 0
    mov cx, 1024
    int 0x10
    EXPECT_EQUAL(bx, 1024, "lines of 1024 bytes")
    EXPECT_EQUAL(cx, 1024, "... and pixels")
    EXPECT_EQUAL(dx, 16384, "... of which 16384 fit")
    mov ax, 0x4F07
    xor bx, bx
    mov cx, 8
    mov dx, 100
    int 0x10
    EXPECT_EQUAL(ax, 0x004F, "the display starts elsewhere")
    xor cx, cx
    xor dx, dx
    mov ax, 0x4F07
    mov bx, 1
    int 0x10
    EXPECT_EQUAL(cx, 8, "... at the column")
    EXPECT_EQUAL(dx, 100, "... and the line")
    mov ax, 0x4F08
    mov bx, 0x0800
    int 0x10
    EXPECT_EQUAL(bh, 8, "the DAC has eight bits")
    mov dword ptr ds:[0x3000], 0x00C3B2A1
    mov ax, 0x4F09
    xor bx, bx
    mov cx, 1
    mov dx, 9
    mov di, 0x3000
    int 0x10
    mov dword ptr ds:[0x3000], 0
    mov ax, 0x4F09
    mov bx, 1
    int 0x10
    EXPECT_EQUAL(dword ptr ds:[0x3000], 0x00C3B2A1, "... which the palette keeps")
    mov ax, 0x4F02
    mov bx, 0x0003
    int 0x10
    EXPECT_EQUAL(ax, 0x004F, "VBE sets mode 3, too")
    mov ax, 0x4F03
    int 0x10
    EXPECT_EQUAL(bx, 3, "... and says so")
    ret

text_hello:    .asciz "hello\r\nwo\bX"
text_coloured: .byte 'a', 0x0A, 'b', 0x0C
