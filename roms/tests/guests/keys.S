/* INT 16h: says "ready", then one line per key as AH=10h gives it, until Esc. */
#include "test.inc"

main:
    mov ah, 0x01
    int 0x16
    EXPECT z, "no key waits at first"
    mov ah, 0x05
    mov cx, 0x1E61
    int 0x16
    EXPECT_EQUAL(al, 0, "a key can be put in")
    mov ah, 0x01
    int 0x16
    EXPECT nz, "... waits"
    EXPECT_EQUAL(ax, 0x1E61, "... is that key")
    mov ah, 0x00
    int 0x16
    EXPECT_EQUAL(ax, 0x1E61, "... comes out")
    mov ah, 0x11
    int 0x16
    EXPECT z, "... once"
    mov si, offset text_ready
    call say
1:  mov ah, 0x10
    int 0x16
    movzx eax, ax
    call say_hex
    cmp ax, 0x011B
    jne 1b
    mov ah, 0x02
    int 0x16
    and al, 0x4F
    EXPECT_EQUAL(al, 0x40, "Caps Lock is on, no shift is down")
    jmp finish
text_ready: .asciz "ready\n"
