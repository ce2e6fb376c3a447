# The other way to write a program: assembly. Counts in RBX and notes the count now and then, by INT 0x80.
.intel_syntax noprefix
.global _start
.text
_start:
        xor     ebx, ebx
1:      inc     rbx
        test    ebx, 0xFFF
        jnz     1b
        mov     eax, 7                  # NOTE
        xor     edi, edi
        mov     rsi, rbx
        int     0x80
        jmp     1b
