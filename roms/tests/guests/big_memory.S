/* The memory map of a machine with 3.5 GiB, of which 3 lie below 4 GiB and the rest above. */
#include "test.inc"

main:
    xor ebx, ebx
1:  mov eax, 0xE820
    mov edx, 0x534D4150
    mov ecx, 20
    mov di, 0x1000
    int 0x15
    jc 2f
    mov eax, [di]
    call say_hex
    cmp dword ptr [di + 4], 1
    je 3f
    test ebx, ebx
    jnz 1b
2:  stc
3:  EXPECT nc, "an entry at 4 GiB"
    EXPECT_EQUAL(dword ptr ds:[di], 0, "... begins there")
    EXPECT_EQUAL(dword ptr ds:[di + 8], 0x20000000, "512 MiB above 4 GiB")
    EXPECT_EQUAL(dword ptr ds:[di + 12], 0, "... and no more")
    EXPECT_EQUAL(dword ptr ds:[di + 16], 1, "... of RAM")
    jmp finish
