/* The MP configuration table, on a machine with three processors. */
#include "test.inc"

main:
    mov ax, 0xF000
    mov es, ax
    xor si, si
1:  cmp dword ptr es:[si], 0x5F504D5F
    je 2f
    add si, 16
    jnz 1b
2:  EXPECT_EQUAL(dword ptr es:[si], 0x5F504D5F, "_MP_ lies on a paragraph")
    mov di, si
    mov cx, 16
    call sum
    EXPECT_EQUAL(al, 0, "... and adds up to zero")
    mov ebx, es:[di + 4]
    sub ebx, 0xF0000
    EXPECT_EQUAL(dword ptr es:[bx], 0x504D4350, "it points to the table")
    mov si, bx
    mov cx, es:[bx + 4]
    call sum
    EXPECT_EQUAL(al, 0, "... which adds up to zero")
    EXPECT_EQUAL(dword ptr es:[bx + 36], 0xFEE00000, "... tells the local APIC")

/* Walks the entries: counts processors, notes ISA IRQ 0 and the disk's IRQ 14. */
    mov cx, es:[bx + 34]
    mov dx, es:[bx + 4]
    add dx, bx                          // the table's end
    lea si, [bx + 44]
    xor edi, edi                        // DI: processors, upper half: things found
3:  mov al, es:[si]
    cmp al, 0
    jne 4f
    inc di
    add si, 12
    jmp 5f
4:  cmp dword ptr es:[si], 0x00000003
    jne 5f
    cmp dword ptr es:[si + 4], 0x02000001
    jne 6f
    or edi, 0x10000
6:  cmp dword ptr es:[si + 4], 0x0E000E01
    jne 5f
    or edi, 0x20000
5:  add si, 8
    loop 3b
    EXPECT_EQUAL(si, dx, "the entries fill the table")
    EXPECT_EQUAL(di, 3, "three processors")
    test edi, 0x10000
    EXPECT nz, "the timer is on input 2"
    test edi, 0x20000
    EXPECT nz, "the disk is on input 14"
    jmp finish

sum:
    xor al, al
1:  add al, es:[si]
    inc si
    loop 1b
    ret
