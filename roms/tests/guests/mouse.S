/* INT 15h AH=C2h: a handler that reports packets of the PS/2 mouse. */
#include "test.inc"

main:
    mov ax, 0xC205
    mov bh, 3
    int 0x15
    EXPECT nc, "a mouse starts"
    EXPECT_EQUAL(ah, 0, "... status 0")
    EXPECT_EQUAL(bx, 0x00AA, "... passed its test, id 0")
    mov ax, 0xC200
    mov bh, 1
    int 0x15
    EXPECT c, "no reports without a handler"
    EXPECT_EQUAL(ah, 5, "... status 5")
    mov ax, 0xC207
    mov bx, offset handler
    int 0x15
    EXPECT nc, "a handler is taken"
    mov ax, 0xC202
    mov bh, 4
    int 0x15
    EXPECT nc, "rate"
    mov ax, 0xC203
    mov bh, 3
    int 0x15
    EXPECT nc, "resolution"
    mov ax, 0xC206
    mov bh, 0
    int 0x15
    EXPECT nc, "status"
    EXPECT_EQUAL(cl, 3, "... resolution 3")
    EXPECT_EQUAL(dl, 80, "... rate 80")
    mov ax, 0xC204
    int 0x15
    EXPECT_EQUAL(bh, 0, "device id")
    mov ax, 0xC202
    mov bh, 9
    int 0x15
    EXPECT_EQUAL(ah, 2, "rate 9 is a bad parameter")
    mov ax, 0xC200
    mov bh, 1
    int 0x15
    EXPECT nc, "reports on"
    mov si, offset text_ready
    call say
1:  hlt
    cmp dword ptr [moved_x], 0
    je 1b
    test byte ptr [status], 1
    jz 1b
    movsx eax, byte ptr [moved_x]
    EXPECT_EQUAL(eax, 20, "moved right")
    movsx eax, byte ptr [moved_y]
    EXPECT_EQUAL(eax, -10, "moved down")
    mov ah, 0x01
    int 0x16
    EXPECT z, "no key was made of it"
    mov ax, 0xC200
    mov bh, 0
    int 0x15
    EXPECT nc, "reports off"
    jmp finish

/* The stack: return address, 0, Y, X, status. */
handler:
    push bp
    mov bp, sp
    push ax
    mov ax, [bp + 8]
    add cs:[moved_y], ax
    mov ax, [bp + 10]
    add cs:[moved_x], ax
    mov ax, [bp + 12]
    mov cs:[status], ax
    pop ax
    pop bp
    retf

    .balign 4
moved_x: .long 0
moved_y: .long 0
status:  .word 0
text_ready: .asciz "ready\n"
